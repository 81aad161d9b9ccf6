// tests/tools/report/page_main.cpp: report_page FILE...: the HTML report of results, to stdout. 77: built without it.
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "tools/measure/html.hpp"

int main(int argc, char** argv) {
  std::vector<std::string> documents;
  for (int i = 1; i < argc; ++i) {
    std::ifstream file(argv[i], std::ios::binary);
    documents.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    if (!file) {
      std::cerr << "report_page: cannot read " << argv[i] << '\n';
      return 1;
    }
  }
  const auto page = bus::tools::measure::html_report(documents);
  if (!page) return 77;
  std::cout << *page;
  return std::cout.flush() ? 0 : 1;
}
