// tools/measure/run_end.hpp: the work of a role over any kind of end: meet, start together, the loop, what was found.
#pragma once

#include "tools/measure/crossings.hpp"
#include "tools/measure/loops.hpp"
#include "tools/measure/trace.hpp"

namespace bus::tools::measure {

template <class End>
void run_loop(End& end, const Work& work, Body& body, Findings& found) {
  const bool near = work.job.role == Role::near;
  switch (work.job.load_model) {
    case LoadModel::closed:
      return near ? ping(end, work, body, found) : echo(end, work, body, found);
    case LoadModel::flood:
      return near ? flood(end, work, body, found) : sink(end, work, body, found);
    case LoadModel::open:
      return near ? offer(end, work, body, found) : take_open(end, work, body, found);
    case LoadModel::none:
      return;
  }
}

template <class End>
void run_end(End& end, const Job& job, Meeting& meeting) {
  Findings found;
  Body body(job.size, job.load_model == LoadModel::open ? kTimeHeader : kCountHeader, job.seed);
  body.prepare_copy();
  Work work{job, SampleClock(job.clock), 0};
  work.start = meeting.await_start();
  sleep_until_start(work.start);
  if (job.trace) CallCounter::mark();
  run_loop(end, work, body, found);
  if (job.trace) CallCounter::mark();
  meeting.report(std::move(found));
}

}  // namespace bus::tools::measure
