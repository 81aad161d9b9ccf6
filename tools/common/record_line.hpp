// tools/common/record_line.hpp: reads the lines of a record, one after the other.
//
// A line is a JSON object; its fields may come in any order. Numbers are checked to fit their type. Threads: one.
#pragma once

#include <memory>
#include <optional>
#include <string_view>

namespace bus::tools {

class RecordLine {
 public:
  RecordLine();
  ~RecordLine();
  RecordLine(const RecordLine&) = delete;
  RecordLine& operator=(const RecordLine&) = delete;

  /// The next line, without its newline. Throws Error(corrupt).
  void read(std::string_view line);

  /// A field of the line. T: bool, std::uint32_t, std::uint64_t, std::int64_t, or std::string_view, valid until the
  /// next line is read. Throws Error(corrupt) if there is none, or one of another type.
  template <typename T>
  [[nodiscard]] T at(std::string_view key) const;
  /// The same; without that field `otherwise`.
  template <typename T>
  [[nodiscard]] T value(std::string_view key, T otherwise) const;

 private:
  struct Parser;

  template <typename T>
  [[nodiscard]] std::optional<T> find(std::string_view key) const;

  const std::unique_ptr<Parser> parser_;
};

}  // namespace bus::tools
