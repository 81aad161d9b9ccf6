// tools/measure/numbers.hpp: figures as people read them: three digits and a unit.
#pragma once

#include <cstdint>
#include <string>

#include "tools/measure/result.hpp"

namespace bus::tools::measure {

/// "702 ns", "31.2 us", "4.20 ms", "1.50 s"; below a nanosecond "0.85 ns".
[[nodiscard]] std::string duration_text(double ns);
/// Its interval in the unit of the value, "[695..711]"; empty when there is none.
[[nodiscard]] std::string duration_interval_text(const Figure& figure);
/// "476 k", "1.23 M", "98.2": a second.
[[nodiscard]] std::string rate_text(double rate);
[[nodiscard]] std::string rate_interval_text(const Figure& figure);
/// GiB a second from bytes a second: "12.3", "0.454", "<0.001".
[[nodiscard]] std::string gib_text(double bytes_per_second);
/// A few of something a message: "0.02", "2", "1.50".
[[nodiscard]] std::string number_text(double value);
/// "1.83x".
[[nodiscard]] std::string ratio_text(double ratio);
/// Sizes in messages, as addresses write them, with a blank: "64 B", "1 KiB".
[[nodiscard]] std::string size_text(std::uint64_t bytes);
/// "97.9 %".
[[nodiscard]] std::string percent_text(double part);
/// 0.9 gives "90%", 0.9999 gives "99.99%": the quantile after so many decades of 1/(1-p).
[[nodiscard]] std::string decade_text(unsigned decades);

}  // namespace bus::tools::measure
