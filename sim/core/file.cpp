#include "sim/core/file.hpp"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <system_error>
#include <utility>
#include <vector>

#include "sim/core/error.hpp"

namespace moesim {

namespace {

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& what, int error) {
  throw ConfigError({path.string(), {}}, what + ": " + std::generic_category().message(error));
}

/// Closes a file descriptor at the end of its scope.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) {
      ::close(fd_);
    }
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  [[nodiscard]] int get() const { return fd_; }

 private:
  int fd_;
};

/// Opens a regular file for reading and tells its size.
std::pair<int, std::size_t> open_regular(const std::filesystem::path& path) {
  // Without O_NONBLOCK a pipe that nobody writes to would block here; a regular file does not care.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    fail(path, "cannot open the file", errno);
  }
  struct stat status{};
  if (::fstat(fd, &status) != 0) {
    const int error = errno;
    ::close(fd);
    fail(path, "cannot read the file's size", error);
  }
  if (!S_ISREG(status.st_mode)) {
    ::close(fd);
    throw ConfigError({path.string(), {}}, "expected a file, found a folder or device");
  }
  return {fd, static_cast<std::size_t>(status.st_size)};
}

}  // namespace

std::string read_file(const std::filesystem::path& path) {
  const auto [fd, size] = open_regular(path);
  const Descriptor descriptor(fd);
  std::string content(size, '\0');
  std::size_t done = 0;
  while (done < size) {
    const ssize_t got = ::read(fd, content.data() + done, size - done);
    if (got < 0) {
      if (errno == EINTR) {
        continue;
      }
      fail(path, "cannot read the file", errno);
    }
    if (got == 0) {
      break;
    }
    done += static_cast<std::size_t>(got);
  }
  content.resize(done);
  return content;
}

void write_file(const std::filesystem::path& path, std::string_view content) {
  write_file(path, [&](std::ostream& out) { out.write(content.data(), static_cast<std::streamsize>(content.size())); });
}

void write_file(const std::filesystem::path& path, const std::function<void(std::ostream&)>& write) {
  std::error_code error;
  if (path.has_parent_path()) {
    std::filesystem::create_directories(path.parent_path(), error);
    if (error) {
      fail(path.parent_path(), "cannot create the folder", error.value());
    }
  }
  const auto status = std::filesystem::status(path, error);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
    throw ConfigError({path.string(), {}}, "expected a file to write, found a folder or device");
  }
  // A link stays one: what it points at is replaced.
  const std::filesystem::path target =
      std::filesystem::is_symlink(path, error) ? std::filesystem::weakly_canonical(path) : path;
  std::filesystem::path beside = target;
  beside += ".part-" + std::to_string(::getpid());
  {
    std::ofstream out(beside, std::ios::binary);
    write(out);
    out.close();
    if (!out) {
      const int reason = errno;
      std::filesystem::remove(beside, error);
      fail(path, "cannot write the file", reason);
    }
  }
  std::filesystem::rename(beside, target, error);
  if (error) {
    const int reason = error.value();
    std::filesystem::remove(beside, error);
    fail(path, "cannot move the finished file into place", reason);
  }
}

namespace {

/// SHA-256 of bytes that come in pieces.
class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new()) {
    ensure(context_ != nullptr && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1, "SHA-256 failed");
  }
  void add(std::span<const std::byte> data) {
    ensure(EVP_DigestUpdate(context_.get(), data.data(), data.size()) == 1, "SHA-256 failed");
  }
  std::string hexadecimal() {
    std::array<unsigned char, 32> digest{};
    unsigned int length = 0;
    ensure(EVP_DigestFinal_ex(context_.get(), digest.data(), &length) == 1 && length == digest.size(),
           "SHA-256 failed");
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::string text;
    for (const unsigned char byte : digest) {
      text += kDigits[byte >> 4];
      text += kDigits[byte & 15];
    }
    return text;
  }

 private:
  struct Free {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  std::unique_ptr<EVP_MD_CTX, Free> context_;
};

}  // namespace

std::string sha256(std::span<const std::byte> data) {
  Sha256 hash;
  hash.add(data);
  return hash.hexadecimal();
}

std::string sha256_of_file(const std::filesystem::path& path) { return sha256(MappedFile(path).bytes()); }

std::string sha256(std::string_view text) { return sha256(std::as_bytes(std::span(text.data(), text.size()))); }

MappedFile::MappedFile(std::filesystem::path path) : path_(std::move(path)) {
  const auto [fd, size] = open_regular(path_);
  const Descriptor descriptor(fd);
  if (size == 0) {
    return;
  }
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (address == MAP_FAILED) {
    fail(path_, "cannot map the file into memory", errno);
  }
  bytes_ = {static_cast<const std::byte*>(address), size};
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) {
    ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
  }
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

}  // namespace moesim
