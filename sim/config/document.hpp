#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "sim/core/error.hpp"

namespace moesim {

using Json = nlohmann::ordered_json;

/// One JSON text, parsed strictly: duplicate keys, comments, trailing text, NaN, numbers beyond double and nesting
/// deeper than 64 are errors that name the place. A UTF-8 byte order mark at the start is skipped.
class Document {
 public:
  /// Throws ConfigError naming the file: not readable, not JSON, duplicate key.
  static Document read(const std::filesystem::path& path);
  /// The same for a text; `name` stands for the file in messages.
  static Document parse(std::string name, std::string_view text);

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const Json& root() const { return root_; }
  /// Folder against which relative paths in the document are resolved; empty for texts that are no file.
  [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }

  /// Applies "/json/pointer=value" (the option --set): value is JSON, or else taken as a string (unless it starts
  /// like an object, an array or a quoted string). Missing objects on the way are created, a plain value there gives
  /// way to an object, "-" or the next index appends to an array. Throws ConfigError naming the option.
  void set(std::string_view assignment);
  /// The same for a value at hand; `place` is whose fault it is where the pointer leads nowhere.
  void set(std::string_view pointer, Json value, const Place& place);

  /// A key as it stands in a JSON pointer: "~" as "~0", "/" as "~1".
  static std::string token(std::string_view key);

 private:
  std::string name_;
  std::filesystem::path folder_;
  Json root_;
};

}  // namespace moesim
