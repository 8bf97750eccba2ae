#include "sim/cli/deliver.hpp"

#include <fmt/format.h>

#include <filesystem>

#include "sim/config/document.hpp"
#include "sim/core/file.hpp"

namespace moesim {

void deliver(const CommonOptions& options, const Delivery& delivery) {
  const std::string text = options.wants_json() ? delivery.json.dump(2) + '\n' : std::string();
  if (!options.out.empty()) {
    const std::filesystem::path folder(options.out);
    write_file(folder / "result.json", text);
    write_file(folder / "result.txt", delivery.table);
    for (const auto& [name, content] : delivery.files) {
      write_file(folder / name, content);
    }
  }
  for (const std::string& warning : delivery.warnings) {
    fmt::print(stderr, "warning: {}\n", warning);
  }
  fmt::print("{}", options.format == OutputFormat::kJson ? text : delivery.table);
}

double Stopwatch::seconds() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
}

void Stopwatch::add_to(Json& json) const {
  json["metrics"]["simulation_time"] = {
      {"value", seconds()}, {"unit", "s"}, {"definition", "wall-clock time from reading the input to the result"}};
}

std::optional<InputFile> input_of(const Document& document) {
  if (document.folder().empty() && !std::filesystem::exists(document.name())) {
    return std::nullopt;
  }
  return InputFile{document.name(), sha256_of_file(document.name())};
}

void put_first(const Document& document, std::vector<InputFile>& inputs) {
  if (const auto input = input_of(document)) {
    inputs.insert(inputs.begin(), *input);
  }
}

}  // namespace moesim
