#pragma once

#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <span>

#include "sim/core/file.hpp"

namespace moesim {

/// A file without a name in the folder for temporary files: what has to be unpacked or rearranged before it can be
/// mapped goes there and not into memory, so that traces may be larger than that. Gone with its last mapping.
class ScratchFile {
 public:
  /// Throws ConfigError naming the folder when it cannot be created.
  ScratchFile();
  ~ScratchFile();
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;

  void append(std::span<const std::byte> bytes);
  /// What was appended, mapped. The scratch file itself is finished with that.
  [[nodiscard]] std::shared_ptr<const MappedFile> map();

 private:
  [[noreturn]] void fail(const char* what) const;

  std::filesystem::path path_;
  std::FILE* file_ = nullptr;
};

}  // namespace moesim
