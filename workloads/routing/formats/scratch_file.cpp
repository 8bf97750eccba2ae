#include "workloads/routing/formats/scratch_file.hpp"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string>
#include <system_error>

#include "sim/core/error.hpp"

namespace moesim {

ScratchFile::ScratchFile() {
  std::error_code error;
  std::filesystem::path folder = std::filesystem::temp_directory_path(error);
  if (error) {
    folder = "/tmp";
  }
  std::string pattern = (folder / "moesim-trace-XXXXXX").string();
  const int fd = ::mkstemp(pattern.data());
  path_ = pattern;
  file_ = fd < 0 ? nullptr : ::fdopen(fd, "wb");
  if (file_ == nullptr) {
    const int reason = errno;
    if (fd >= 0) {
      ::close(fd);
      std::filesystem::remove(path_, error);
    }
    errno = reason;
    fail("cannot create a temporary file");
  }
}

ScratchFile::~ScratchFile() {
  if (file_ != nullptr) {
    static_cast<void>(std::fclose(file_));
  }
  std::error_code unused;
  std::filesystem::remove(path_, unused);
}

void ScratchFile::fail(const char* what) const {
  throw ConfigError({path_.string(), {}}, std::string(what) + ": " + std::generic_category().message(errno));
}

void ScratchFile::append(std::span<const std::byte> bytes) {
  if (std::fwrite(bytes.data(), 1, bytes.size(), file_) != bytes.size()) {
    fail("cannot write the temporary file");
  }
}

std::shared_ptr<const MappedFile> ScratchFile::map() {
  std::FILE* file = file_;
  file_ = nullptr;
  if (std::fclose(file) != 0) {
    fail("cannot write the temporary file");
  }
  auto mapped = std::make_shared<const MappedFile>(path_);
  std::filesystem::remove(path_);
  return mapped;
}

}  // namespace moesim
