// tools/verbs/all.cpp: the one table of verbs.
#include "tools/verbs/all.hpp"

#include <array>

namespace bus::tools {

std::span<const Verb* const> verbs() noexcept {
  static const std::array table{&send_verb(),   &recv_verb(),    &echo_verb(),       &ping_verb(),    &pub_verb(),
                                &sub_verb(),    &request_verb(), &reply_verb(),      &broker_verb(),  &audit_verb(),
                                &list_verb(),   &latency_verb(), &throughput_verb(), &compare_verb(), &doctor_verb(),
                                &report_verb(), &diff_verb()};
  return table;
}

}  // namespace bus::tools
