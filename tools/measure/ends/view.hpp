// tools/measure/ends/view.hpp: what every end of a crossing looks like to the loops that measure it.
//
// An End is a class with these calls, chosen at compile time, so that a loop pays for nothing that it does not measure:
//   bool send(std::span<const std::byte>)   waits until the message is accepted; false: it cannot be, see failure()
//   bool receive(View&)                     waits for a message; it may be read until the next receive(); false: none
//   comes bool flush()                            what is gathered leaves std::string failure()                   why a
//   call gave false
// With kLoans also send_in_place(size, fill), with kBatches also send_batch(spans).
#pragma once

#include <cstddef>
#include <span>

namespace bus::tools::measure {

struct View {
  std::span<const std::byte> bytes;
  std::size_t from = 0;  // which of the senders
};

}  // namespace bus::tools::measure
