// tools/verbs/all.hpp: the one table of verbs: main() finds a verb in it, help is made from it.
#pragma once

#include <span>

#include "tools/common/verb.hpp"

namespace bus::tools {

[[nodiscard]] std::span<const Verb* const> verbs() noexcept;

[[nodiscard]] const Verb& send_verb() noexcept;
[[nodiscard]] const Verb& recv_verb() noexcept;
[[nodiscard]] const Verb& echo_verb() noexcept;
[[nodiscard]] const Verb& ping_verb() noexcept;
[[nodiscard]] const Verb& pub_verb() noexcept;
[[nodiscard]] const Verb& sub_verb() noexcept;
[[nodiscard]] const Verb& request_verb() noexcept;
[[nodiscard]] const Verb& reply_verb() noexcept;
[[nodiscard]] const Verb& broker_verb() noexcept;
[[nodiscard]] const Verb& audit_verb() noexcept;
[[nodiscard]] const Verb& list_verb() noexcept;
[[nodiscard]] const Verb& latency_verb() noexcept;
[[nodiscard]] const Verb& throughput_verb() noexcept;
[[nodiscard]] const Verb& compare_verb() noexcept;
[[nodiscard]] const Verb& doctor_verb() noexcept;
[[nodiscard]] const Verb& report_verb() noexcept;
[[nodiscard]] const Verb& diff_verb() noexcept;

}  // namespace bus::tools
