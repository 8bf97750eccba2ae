#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <exception>
#include <new>
#include <system_error>

#include "sim/cli/commands.hpp"
#include "sim/core/error.hpp"
#include "sim/report/version.hpp"

namespace {

constexpr int kBadInput = 2;
constexpr int kOurFault = 3;

/// CLI11 has codes of its own for bad options; ours are 0 (help was asked for) and 2.
int exit_code_of(const CLI::App& app, const CLI::ParseError& error) {
  if (error.get_exit_code() == 0) {
    return app.exit(error);
  }
  fmt::print(stderr, "moesim: {}\nTry 'moesim --help', or 'moesim COMMAND --help'.\n", error.what());
  return kBadInput;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Predicts how Mixture-of-Experts models run on GPU clusters, from the routing decisions of real tokens.",
               "moesim"};
  app.set_version_flag("--version", std::string(moesim::version()));
  app.require_subcommand(1);
  int exit_code = moesim::kDone;
  try {
    moesim::add_run(app);
    moesim::add_network(app);
    moesim::add_place(app);
    moesim::add_sweep(app);
    moesim::add_train(app);
    moesim::add_check(app, exit_code);
    moesim::add_catalogue_commands(app);
    moesim::add_collective(app);
    moesim::add_trace(app);
    moesim::add_calibrate(app);
    moesim::add_validate(app, exit_code);
    app.parse(argc, argv);
    if (std::fflush(stdout) != 0) {
      throw std::system_error(errno, std::generic_category());
    }
    return exit_code;
  } catch (const CLI::ParseError& error) {
    return exit_code_of(app, error);
  } catch (const moesim::ConfigError& error) {
    for (const auto& diagnostic : error.diagnostics()) {
      fmt::print(stderr, "error: {}\n", diagnostic.text());
    }
    return kBadInput;
  } catch (const moesim::ModelError& error) {
    fmt::print(stderr, "error: {}\n", error.what());
    return kBadInput;
  } catch (const std::system_error& error) {
    fmt::print(stderr, "error: cannot write the result: {}\n", error.code().message());
    return kBadInput;
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "error: the scenario needs more memory than this machine has\n");
    return kBadInput;
  } catch (const std::exception& error) {
    fmt::print(stderr, "moesim: a fault of ours, please report it: {}\n", error.what());
    return kOurFault;
  }
}
