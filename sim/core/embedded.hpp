#pragma once

#include <span>
#include <string_view>

namespace moesim {

/// A text file compiled into the program (catalogue entries, ready scenarios).
struct EmbeddedFile {
  std::string_view name;  ///< file name without folder and extension
  std::string_view text;
};

}  // namespace moesim
