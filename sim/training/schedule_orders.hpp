#pragma once

#include "sim/training/schedule.hpp"

/// The orders that schedule.cpp lists.
namespace moesim {

ScheduleOrder gpipe_order(const PipelineShape& shape);
ScheduleOrder one_f_one_b_order(const PipelineShape& shape);
ScheduleOrder interleaved_order(const PipelineShape& shape);
ScheduleOrder overlapped_order(const PipelineShape& shape);
ScheduleOrder zero_bubble_order(const PipelineShape& shape);
ScheduleOrder dualpipe_order(const PipelineShape& shape);
ScheduleOrder dualpipe_v_order(const PipelineShape& shape);

}  // namespace moesim
