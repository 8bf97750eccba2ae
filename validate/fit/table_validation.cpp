#include "validate/fit/table_validation.hpp"

#include <optional>

#include "sim/core/error.hpp"
#include "validate/fit/communication_table.hpp"
#include "validate/fit/communication_validate.hpp"

namespace moesim {

ProfileChoice profile_choice(const std::string& text) {
  if (text.ends_with(".json")) {
    return ProfileFile{{text, text}};
  }
  return ProfileName{text};
}

TableValidation validate_table(const std::filesystem::path& path, const TableChoice& choice, const TaskPool& pool) {
  const bool own = choice.format == TableFormat::kMoesim;
  const auto communication = own ? std::nullopt : read_communication(path);
  const MeasurementTable table = communication ? communication->head : read_measurements(path, choice.format);
  std::optional<TableDevice> device = device_of(table, choice.gpu);
  const std::string name =
      !choice.profile.empty() ? choice.profile : nearest_profile(device ? device->accelerator : "", table.framework);
  const KernelProfile profile = load_kernel_profile(profile_choice(name), {"--profile", ""});
  if (!device) {
    if (!profile.fitted) {
      throw ConfigError({path.string(), ""},
                        "expected a GPU that the catalogue knows, found none: say which with --gpu");
    }
    device = TableDevice{profile.fitted->profile().accelerator, "the profile"};
  }
  TableValidation done{{}, profile.name, table.framework, *device};
  if (communication) {
    done.result = validate_communication(*communication, profile, device->accelerator, pool);
  } else {
    const Accelerator accelerator = find_accelerator(device->accelerator, {"--gpu", ""});
    check_units(table, accelerator);
    done.result = validate(table, profile, accelerator);
  }
  return done;
}

}  // namespace moesim
