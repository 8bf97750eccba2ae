#include "sim/program/program_writer.hpp"

#include <variant>

namespace moesim {

ProgramWriter::ProgramWriter(const Cluster& cluster, std::size_t ranks, int group_size)
    : cluster_(cluster), group_size_(static_cast<std::size_t>(group_size)) {
  program_.ranks.resize(ranks);
}

void ProgramWriter::yield() {
  if (target_.turns != nullptr) {
    target_.turns->emplace_back(ranks());
  }
}

std::vector<Instruction>& ProgramWriter::stream(std::size_t rank) {
  return target_.turns == nullptr ? program_.ranks[rank] : target_.turns->back()[rank];
}

std::vector<RunKernel> ProgramWriter::store(KernelList kernels) {
  std::vector<RunKernel> runs;
  for (OperatorKernel& item : kernels) {
    runs.push_back({kernels_.place(std::move(item.kernel)), item.op, stage_, item.repeat, target_.micro_batch});
  }
  return runs;
}

std::uint32_t ProgramWriter::store(Exchange exchange) {
  exchange.stage = stage_;
  exchange.micro_batch = target_.micro_batch;
  program_.exchanges.push_back(std::move(exchange));
  return static_cast<std::uint32_t>(program_.exchanges.size() - 1);
}

void ProgramWriter::run(std::size_t rank, const std::vector<RunKernel>& kernels) {
  auto& own = stream(rank);
  own.insert(own.end(), kernels.begin(), kernels.end());
}

void ProgramWriter::all_run(KernelList kernels) {
  const auto stored = store(std::move(kernels));
  for (std::size_t rank = 0; rank < ranks(); ++rank) {
    run(rank, stored);
  }
}

ProgramWriter::Begun ProgramWriter::begin(CollectivePhases phases) {
  Begun begun{std::move(phases)};
  if (!begun.phases.empty()) {
    if (auto* exchange = std::get_if<Exchange>(&begun.phases.front())) {
      begun.exchange = store(std::move(*exchange));
      all_do(Send{*begun.exchange});
    }
  }
  return begun;
}

/// The rest of them, one after the other.
void ProgramWriter::finish(Begun begun) {
  for (std::size_t i = 0; i < begun.phases.size(); ++i) {
    if (i == 0 && begun.exchange) {
      all_do(Receive{*begun.exchange});
    } else if (auto* exchange = std::get_if<Exchange>(&begun.phases[i])) {
      const std::uint32_t index = store(std::move(*exchange));
      all_do(Send{index});
      all_do(Receive{index});
    } else {
      auto& kernels = std::get<std::vector<Kernel>>(begun.phases[i]);
      for (std::size_t rank = 0; rank < ranks(); ++rank) {
        run(rank, store(KernelList{{StepOperator::kPermute, std::move(kernels[rank])}}));
      }
    }
  }
}

Program ProgramWriter::take(std::uint32_t stages) {
  program_.stages = stages;
  return std::move(program_);
}

}  // namespace moesim
