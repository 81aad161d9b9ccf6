// bus/core/fault_point.hpp: a numbered place at which tests kill or stop a process.
//
// BUS_FAULT_POINT() stands before every write to shared memory and every system call whose interruption could
// matter. In ordinary builds it is nothing. With BUS_FAULT_POINTS defined (debug and sanitizer presets) the k-th
// one that a process passes raises SIGKILL when CRASH_AT=k, or SIGSTOP when STOP_AT=k, stands in its environment.
// BUS_FAULT_POINT_OF_READ(socket) is none where the read that follows finds nothing: that changes nothing, and how
// often it is tried in vain is a matter of time.
#pragma once

namespace bus {
#ifdef BUS_FAULT_POINTS
void fault_point() noexcept;
void fault_point_of_read(int socket) noexcept;
#define BUS_FAULT_POINT() ::bus::fault_point()
#define BUS_FAULT_POINT_OF_READ(socket) ::bus::fault_point_of_read(socket)
#else
#define BUS_FAULT_POINT() static_cast<void>(0)
#define BUS_FAULT_POINT_OF_READ(socket) static_cast<void>(0)
#endif
}  // namespace bus
