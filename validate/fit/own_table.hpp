#pragma once

#include "sim/config/document.hpp"
#include "validate/fit/table_file.hpp"

namespace moesim {

/// Our own measurements (moesim.measurement/1, validate/measured) as a table with the columns of its rows. Throws
/// ConfigError where the document is none.
TableFile own_table(const Document& document);

}  // namespace moesim
