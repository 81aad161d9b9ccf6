// tools/measure/html.hpp: results as one HTML file that needs nothing else: no network, no other file.
#pragma once

#include <optional>
#include <span>
#include <string>

namespace bus::tools::measure {

/// One page from results as JSON documents (schema 1); none when the program was built without npm.
///
/// The documents are in the page as they are, so that the page can give them back; a text in them that reads as markup
/// stays text. A document that is no result is not refused here: the page says what is wrong with it.
/// Cost: a copy of the page (150 KB) and of the documents.
[[nodiscard]] std::optional<std::string> html_report(std::span<const std::string> json_documents);

}  // namespace bus::tools::measure
