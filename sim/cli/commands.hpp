#pragma once

#include <CLI/CLI.hpp>

#include "validate/fit/measurements.hpp"

namespace moesim {

/// What a command returns when nothing is wrong; errors are thrown (main.cpp turns them into codes 2 and 3).
inline constexpr int kDone = 0;
inline constexpr int kCheckFailed = 1;

// Each adds its command to `app`. The chosen command's callback does the work and writes to stdout.
void add_run(CLI::App& app);
void add_network(CLI::App& app);
void add_place(CLI::App& app);
void add_sweep(CLI::App& app);
void add_train(CLI::App& app);
void add_check(CLI::App& app, int& exit_code);
void add_catalogue_commands(CLI::App& app);  ///< list, show, schema
void add_collective(CLI::App& app);
void add_trace(CLI::App& app);
void add_trace_generate(CLI::App& trace);  ///< below trace
void add_calibrate(CLI::App& app);
void add_validate(CLI::App& app, int& exit_code);

// Below validate.
void add_validate_serving(CLI::App& validate);
void add_validate_cases(CLI::App& validate, int& exit_code);
void add_validate_all(CLI::App& validate, int& exit_code);

/// The option --table-format, which both share.
void add_table_format(CLI::App& command, TableFormat& format);

}  // namespace moesim
