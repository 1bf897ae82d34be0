#include "kernels/codec/larder/head_parameters.h"

#include "kernels/codec/larder/step_table.h"

namespace larder {

void HeadParameters::SetChannel(uint32_t channel, uint32_t step_index, uint32_t table,
                                int32_t mean_units, const TableFamily& family) {
  const ProfileTable& entry = family.table(table);
  step[channel] = FineStep(step_index);
  inverse_step[channel] = InverseFineStep(step_index);
  mean[channel] = mean_units * kMeanUnit;
  bound[channel] = static_cast<float>(entry.symbol_max * kFineSteps) + 0.5f * kFineSteps;
  base_table[channel] = static_cast<uint8_t>(table);
}

}  // namespace larder
