// bus/core/result.hpp: a value or a std::error_code. value() throws std::system_error when there is none.
#pragma once

#include <boost/system/result.hpp>
#include <system_error>

namespace bus {

template <class T>
using Result = boost::system::result<T, std::error_code>;

}  // namespace bus
