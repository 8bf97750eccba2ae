#include "program.hpp"

#include <sys/wait.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "sim/core/file.hpp"

namespace moesim::test {

Outcome run_program(const std::filesystem::path& folder, const std::string& arguments) {
  const ScratchFolder streams;
  const std::string out = streams.path() / "out";
  const std::string err = streams.path() / "err";
  const std::string command = "cd '" + folder.string() + "' && '" MOESIM_PROGRAM "' " + arguments + " >'" + out +
                              "' 2>'" + err + "' </dev/null";
  const int status = std::system(command.c_str());  // NOLINT(concurrency-mt-unsafe): one thread
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), read_file(out), read_file(err)};
}

double metric(const nlohmann::json& result, const char* name) {
  return result.at("metrics").at(name).at("value").get<double>();
}

}  // namespace moesim::test
