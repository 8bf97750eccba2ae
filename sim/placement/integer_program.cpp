#include "sim/placement/integer_program.hpp"

#include <coin/Cbc_C_Interface.h>

#include <memory>
#include <numeric>
#include <string>

namespace moesim {

namespace {

struct Delete {
  void operator()(Cbc_Model* model) const { Cbc_deleteModel(model); }
};
using Model = std::unique_ptr<Cbc_Model, Delete>;

}  // namespace

std::optional<ProgramSolution> solve(const IntegerProgram& program, const ProgramLimits& limits) {
  const Model model(Cbc_newModel());
  Cbc_setLogLevel(model.get(), 0);
  for (std::size_t j = 0; j < program.columns.size(); ++j) {
    const auto& column = program.columns[j];
    const std::string name = "x" + std::to_string(j);
    Cbc_addCol(model.get(), name.c_str(), 0.0, column.binary ? 1.0 : column.upper, column.cost,
               static_cast<char>(column.binary ? 1 : 0), 0, nullptr, nullptr);
  }
  for (std::size_t i = 0; i < program.rows.size(); ++i) {
    const auto& row = program.rows[i];
    const std::string name = "r" + std::to_string(i);
    Cbc_addRow(model.get(), name.c_str(), static_cast<int>(row.columns.size()), row.columns.data(), row.factors.data(),
               row.sense, row.right);
  }
  if (!program.start.empty()) {
    std::vector<int> all(program.start.size());
    std::iota(all.begin(), all.end(), 0);
    Cbc_setMIPStartI(model.get(), static_cast<int>(all.size()), all.data(), program.start.data());
  }
  Cbc_setMaximumNodes(model.get(), limits.nodes);
  Cbc_setMaximumSeconds(model.get(), limits.seconds);
  Cbc_setAllowableFractionGap(model.get(), limits.gap);
  Cbc_setParameter(model.get(), "threads", "0");
  Cbc_solve(model.get());
  const double* x = Cbc_isProvenInfeasible(model.get()) != 0 ? nullptr : Cbc_bestSolution(model.get());
  if (x == nullptr) {
    return std::nullopt;
  }
  ProgramSolution solution;
  solution.x.assign(x, x + program.columns.size());
  solution.objective = Cbc_getObjValue(model.get());
  solution.ended =
      Cbc_isProvenOptimal(model.get()) != 0 ? ProgramSolution::Ended::kWithinGap : ProgramSolution::Ended::kAtLimit;
  return solution;
}

}  // namespace moesim
