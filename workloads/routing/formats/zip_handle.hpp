#pragma once

#include <zip.h>

#include <memory>

/// Owners of what libzip hands out. For the .cpp files that use it.
namespace moesim {

struct DiscardZip {
  void operator()(zip_t* archive) const { zip_discard(archive); }
};
struct CloseZipFile {
  void operator()(zip_file_t* file) const { zip_fclose(file); }
};
using ZipArchive = std::unique_ptr<zip_t, DiscardZip>;
using ZipFile = std::unique_ptr<zip_file_t, CloseZipFile>;

}  // namespace moesim
