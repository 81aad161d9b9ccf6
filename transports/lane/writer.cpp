// transports/lane/writer.cpp: publishing a record.
#include "transports/lane/writer.hpp"

#include "bus/core/fault_point.hpp"

namespace bus::lane {

void Writer::publish(std::uint32_t kind, std::size_t size) noexcept {
  Record& record = ring_.at(position_);
  const std::uint64_t end = position_ + record_bytes(size);
  BUS_FAULT_POINT();
  if (kind == kMessage) ring_.at(end).commit.store(kEmpty, std::memory_order_relaxed);  // the reader stops here
  BUS_FAULT_POINT();
  record.size.store(static_cast<std::uint32_t>(size), std::memory_order_relaxed);
  BUS_FAULT_POINT();
  record.commit.store(kind, std::memory_order_release);  // [commit]
  BUS_FAULT_POINT();
  position_ = end;
}

}  // namespace bus::lane
