// tests/system/audited.cpp: every run of a system test ends in the auditor.
//
// While it runs, BUS_RECORD names a folder of its own, so that all programs of the bus that it starts write down what
// they publish and receive; at its end `bus audit` must be able to close the books over them. Programs that the test
// gives a record of their own (--record) are the test's to audit.
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/support/around_runs.hpp"
#include "tests/system/bus_run.hpp"

namespace bus::test {
namespace {

class AuditedRuns final : public AroundRuns {
 public:
  void before() override {
    folder_ = temporary_folder();
    ::setenv("BUS_RECORD", folder_.c_str(), 1);
  }

  std::string after() override {
    ::unsetenv("BUS_RECORD");
    // The margin: how long a busy machine may take to hand a message on; the cases on faults ask for less.
    std::vector<std::string> words{"audit", "--margin", "100ms"};
    const std::size_t without_records = words.size();
    for (const auto& file : std::filesystem::directory_iterator(folder_)) {
      if (file.file_size() > 0) words.push_back(file.path());  // else: killed before it wrote anything
    }
    if (words.size() == without_records) return {};
    const Finished audit = run_bus(words);
    std::filesystem::remove_all(folder_);
    return audit.status == exited(0) ? "" : "left books that do not close\n" + audit.err + audit.out;
  }

 private:
  std::string folder_;
};

AuditedRuns audited_runs;

}  // namespace
}  // namespace bus::test
