#include <algorithm>
#include <cstring>
#include <memory>
#include <system_error>

#include "sim/core/error.hpp"
#include "workloads/routing/formats/npz.hpp"
#include "workloads/routing/formats/zip_handle.hpp"

namespace moesim {

namespace {

/// An array while libzip asks for its bytes.
struct Stream {
  NpzArray array;
  std::string ready;
  std::size_t sent = 0;

  zip_int64_t read(char* out, std::size_t size) {
    std::size_t done = 0;
    while (done < size) {
      if (sent == ready.size()) {
        ready.clear();
        sent = 0;
        array.next(ready);
        if (ready.empty()) {
          break;
        }
      }
      const std::size_t part = std::min(size - done, ready.size() - sent);
      std::memcpy(out + done, ready.data() + sent, part);
      done += part;
      sent += part;
    }
    return static_cast<zip_int64_t>(done);
  }
};

zip_int64_t serve(void* user, void* data, zip_uint64_t length, zip_source_cmd_t command) {
  auto* stream = static_cast<Stream*>(user);
  switch (command) {
    case ZIP_SOURCE_OPEN:
      stream->ready = npy_head(stream->array.type, stream->array.shape);
      return 0;
    case ZIP_SOURCE_READ:
      return stream->read(static_cast<char*>(data), length);
    case ZIP_SOURCE_STAT:
      zip_stat_init(static_cast<zip_stat_t*>(data));
      return sizeof(zip_stat_t);
    case ZIP_SOURCE_ERROR: {
      zip_error_t none;
      zip_error_init(&none);
      return zip_error_to_data(&none, data, length);
    }
    case ZIP_SOURCE_CLOSE:
    case ZIP_SOURCE_FREE:
      return 0;
    case ZIP_SOURCE_SUPPORTS:
      return zip_source_make_command_bitmap(ZIP_SOURCE_OPEN, ZIP_SOURCE_READ, ZIP_SOURCE_CLOSE, ZIP_SOURCE_STAT,
                                            ZIP_SOURCE_ERROR, ZIP_SOURCE_FREE, -1);
    default:
      return -1;
  }
}

}  // namespace

void write_npz(const std::filesystem::path& path, std::vector<NpzArray> arrays) {
  const auto fail = [&](const char* found) {
    throw ConfigError({path.string(), {}}, std::string("cannot write the archive: ") + found);
  };
  if (path.has_parent_path()) {
    std::error_code error;
    std::filesystem::create_directories(path.parent_path(), error);
    if (error) {
      throw ConfigError({path.parent_path().string(), {}}, "cannot create the folder: " + error.message());
    }
  }
  std::vector<std::unique_ptr<Stream>> streams;
  int code = 0;
  ZipArchive archive(zip_open(path.c_str(), ZIP_CREATE | ZIP_TRUNCATE, &code));
  if (!archive) {
    zip_error_t error;
    zip_error_init_with_code(&error, code);
    const std::string text = zip_error_strerror(&error);
    zip_error_fini(&error);
    fail(text.c_str());
  }
  for (NpzArray& array : arrays) {
    const std::string name = array.name + ".npy";
    streams.push_back(std::make_unique<Stream>(Stream{std::move(array), {}}));
    zip_source_t* source = zip_source_function(archive.get(), serve, streams.back().get());
    const zip_int64_t index =
        source == nullptr ? -1 : zip_file_add(archive.get(), name.c_str(), source, ZIP_FL_ENC_UTF_8);
    if (index < 0) {
      zip_source_free(source);
      fail(zip_strerror(archive.get()));
    }
    // Always the first date that the format knows: the same arrays give the same bytes.
    constexpr zip_uint16_t kFirstDay = 1 << 5 | 1;
    zip_set_file_compression(archive.get(), static_cast<zip_uint64_t>(index), ZIP_CM_STORE, 0);
    zip_file_set_dostime(archive.get(), static_cast<zip_uint64_t>(index), 0, kFirstDay, 0);
  }
  if (zip_close(archive.get()) != 0) {
    fail(zip_strerror(archive.get()));
  }
  static_cast<void>(archive.release());
}

}  // namespace moesim
