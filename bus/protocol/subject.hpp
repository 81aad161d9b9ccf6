// bus/protocol/subject.hpp: the names that messages are published under, and the patterns that subscriptions give.
//
// Both are tokens with a '.' between them: "sensors.kitchen.temp". No token is empty, and none contains white space or
// a control character (ASCII; bytes from 0x80 on are not looked at, so UTF-8 will do) nor, in a subject, '*' or '>'. In
// a pattern a token may be "*", which stands for any one token, and the last may be ">", which stands for one or more.
// Upper and lower case differ.
//
// Errors: none; what is no subject is not valid. Cost: no allocation.
#pragma once

#include <cstddef>
#include <string_view>

namespace bus::protocol {

inline constexpr std::size_t kMaxSubject = 256;  // bytes; also of a pattern.

/// Cost: a few instructions for eight bytes: it is asked for every message.
[[nodiscard]] bool valid_subject(std::string_view subject) noexcept;

[[nodiscard]] bool valid_pattern(std::string_view pattern) noexcept;

/// Whether a subscription to this pattern gets what is published on this subject. Both have to be valid.
/// Token by token: it says what is right. What routes many subscriptions at once has to agree with it.
[[nodiscard]] bool matches(std::string_view pattern, std::string_view subject) noexcept;

}  // namespace bus::protocol
