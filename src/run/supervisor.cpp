#include "run/supervisor.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "base/log.h"
#include "run/command.h"
#include "run/command_environment.h"
#include "run/job.h"
#include "run/job_control.h"
#include "run/notify_relay.h"
#include "run/save_paths.h"
#include "run/telling.h"
#include "run/text_inbox.h"
#include "run/worker.h"

namespace thaw::run {
namespace {

using std::chrono::milliseconds;
using Clock = Context::Clock;

// Until a worker that should have ended by itself is asked to.
constexpr milliseconds kTimeoutPatience{50};

class Supervisor {
 public:
  Supervisor(const StartOptions& options, const Configure& configure)
      : options_(options),
        configure_(configure),
        telling_(options.events, options.verbose, options.began) {}

  int run();

 private:
  enum class Phase { awaiting, restoring, running, finishing, over };

  // The loop.
  void wait();
  void on_signals();
  void on_signal(const signalfd_siginfo& info);
  void on_alarms(Time now);
  void reap();
  void emit(Event event) { telling_.emit(std::move(event)); }

  // The configuration.
  void await_configuration();
  void take_configuration();
  void give_up_configuration(const std::string& reason, const std::string& message);
  void configured(const std::optional<std::string>& json);

  // Before COMMAND.
  void begin_restore(Moment moment);
  void take_restore_reports();
  void restore_is_over(const std::string& reason, const std::string& message);
  void end_before_command(int signal);

  // COMMAND.
  void start_command();
  void prepare_readiness(CommandLaunch& launch);
  void command_ended(int status);

  // Behind it.
  void take_readiness_line();
  void is_ready(const char* by);
  void begin_save();
  void take_save_reports();
  void save_is_over();
  void save_again();
  void finish_saves();
  void end_if_done();
  void tell_what_was_not_saved();

  WorkerOptions worker_options(WorkerOptions::Priority priority) const {
    return {priority, options_.verbose};
  }

  const StartOptions& options_;
  const Configure& configure_;
  Phase phase_ = Phase::awaiting;
  Telling telling_;
  std::optional<SignalInbox> signals_;
  std::optional<TextInbox> json_;
  std::optional<NotifyRelay> notify_;
  UniqueFd ready_line_;
  FileMark file_before_;
  std::optional<Work> work_;
  std::optional<Job> restorer_, saver_;
  std::vector<std::string> restored_, told_;  // the paths that were told of
  std::vector<std::string> saved_;            // those that need no further save
  std::vector<std::string> half_restored_;    // and those that hold a part of a snapshot
  Alarm config_due_, ready_due_, save_due_;
  bool restore_pending_ = false;
  bool restore_timed_out_ = false;
  bool ready_ = false;
  bool settled_ = false;
  bool saves_at_exit_ = false;
  bool save_over_ = false;
  bool failed_behind_command_ = false;  // a save that may do better at the end
  int asked_to_stop_ = 0;               // by this signal, which COMMAND has too: it may not obey
  pid_t command_ = 0;                   // 0: it does not run
  bool command_ran_ = false;
  Ended ended_;
  std::string exit_message_;
};

// ------------------------------------------------------------------------------------- the loop

int Supervisor::run() {
  auto signals = SignalInbox::open();
  if (!signals) {
    log::write(log::Level::error, "run: " + signals.error().text());
    return exit_code_of_failed_launch(signals.error());
  }
  signals_.emplace(*std::move(signals));
  await_configuration();
  while (phase_ != Phase::over) wait();
  return ended_.code;
}

void Supervisor::wait() {
  std::vector<struct pollfd> asked;
  const auto ask = [&asked](int fd, short events) { asked.push_back({fd, events, 0}); };
  ask(signals_->fd(), POLLIN);
  if (json_) ask(json_->fd(), POLLIN);
  if (restorer_) ask(restorer_->worker.fd(), POLLIN);
  if (saver_) ask(saver_->worker.fd(), POLLIN);
  if (ready_line_.valid()) ask(ready_line_.get(), POLLIN);
  if (notify_) ask(notify_->fd(), notify_->events());
  telling_.ask(asked);

  std::optional<Time> next;
  const auto consider = [&next](const Alarm& alarm) {
    if (alarm.when() && (!next || *alarm.when() < *next)) next = alarm.when();
  };
  for (const Alarm* each : {&config_due_, &ready_due_, &save_due_}) consider(*each);
  for (const auto* job : {&restorer_, &saver_}) {
    if (!*job) continue;
    for (const Alarm* each : {&(*job)->stop, &(*job)->kill, &(*job)->abandon}) consider(*each);
  }
  int patience = -1;
  if (next) {
    const auto left = std::chrono::ceil<milliseconds>(*next - Clock::now()).count();
    patience = static_cast<int>(std::clamp<int64_t>(left, 0, 3'600'000));
  }
  if (::poll(asked.data(), asked.size(), patience) < 0 && errno != EINTR) return;
  const auto came = [&asked](int fd) {
    return std::any_of(asked.begin(), asked.end(),
                       [fd](const auto& each) { return each.fd == fd && each.revents != 0; });
  };
  telling_.flush();
  if (restorer_ && came(restorer_->worker.fd())) take_restore_reports();
  if (saver_ && came(saver_->worker.fd())) take_save_reports();
  if (notify_ && came(notify_->fd()) && notify_->take(command_) &&
      options_.readiness.kind == Readiness::Kind::notify) {
    is_ready("notify");
  }
  if (ready_line_.valid() && came(ready_line_.get())) take_readiness_line();
  if (json_ && came(json_->fd())) take_configuration();
  if (came(signals_->fd())) on_signals();
  on_alarms(Clock::now());
}

// A continued process looks at who was stopped only once it has passed that on.
void Supervisor::on_signals() {
  bool children = false;
  while (const auto info = signals_->next()) {
    if (info->ssi_signo == SIGCHLD) {
      children = true;
    } else {
      on_signal(*info);
    }
  }
  if (children) reap();
}

void Supervisor::on_signal(const signalfd_siginfo& info) {
  const int number = static_cast<int>(info.ssi_signo);
  const bool own = info.ssi_code == SI_USER && info.ssi_pid == static_cast<uint32_t>(::getpid());
  if (own) return;  // SIGPIPE, SIGXFSZ: what was written answered an error
  const bool reached_command = sent_to_the_group(info);
  if (phase_ == Phase::running) {
    if (!reached_command) forward(info, command_);
  } else if (ends_by_default(number) && ::sigismember(&options_.signals.ignored, number) != 1) {
    // Nothing is left that the signal could be for.
    if (phase_ != Phase::finishing) return end_before_command(number);
    if (saver_) saver_->end(Clock::now());
  }
  if (number == SIGCONT) asked_to_stop_ = 0;
  if (number != SIGTSTP && number != SIGTTIN && number != SIGTTOU) return;
  // An editor tidies the screen and then stops itself; who stops for nothing waits for no one.
  if (phase_ == Phase::running)
    asked_to_stop_ = number;
  else
    stop_as_by_default(number);
}

void Supervisor::on_alarms(Time now) {
  if (config_due_.rings(now)) {
    if (options_.await) {
      emit({{"event", "config"}, {"ok", false}, {"reason", "late"}});
      start_command();
    } else {
      give_up_configuration("timeout", "the configuration did not come in time");
    }
  }
  if (ready_due_.rings(now)) is_ready("after");
  if (save_due_.rings(now) && saver_) saver_->end(now);
  for (auto* job : {&restorer_, &saver_}) {
    if (!*job) continue;
    if ((*job)->stop.rings(now)) {
      restore_timed_out_ = true;
      (*job)->end(now);
    }
    if ((*job)->kill.rings(now)) {
      (*job)->worker.kill();
      (*job)->abandon.set(now + kKillPatience);
    }
  }
  // It does not even die: the kernel holds it. Nobody waits for that.
  if (restorer_ && restorer_->abandon.rings(now)) {
    restorer_.reset();
    restore_is_over("internal", "the restore hangs");
    end_if_done();
  }
  if (saver_ && saver_->abandon.rings(now)) {
    saver_.reset();
    save_is_over();
  }
}

void Supervisor::reap() {
  int status = 0;
  pid_t pid = 0;
  while ((pid = ::waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0) {
    if (WIFSTOPPED(status)) {
      if (pid != command_ || phase_ != Phase::running) continue;
      // The shell that waits for us would never hear of it.
      if (const int asked = std::exchange(asked_to_stop_, 0); asked == WSTOPSIG(status))
        stop_as_by_default(asked);
      else if (holds_terminal(command_))
        stop_as_by_default(SIGSTOP);
    } else if (pid == command_) {
      command_ended(status);
    } else if (restorer_ && pid == restorer_->worker.pid()) {
      restorer_->worker.is_reaped();
      take_restore_reports();
      restorer_.reset();
      restore_is_over("internal", "the restore ended before it was done");
      end_if_done();
    } else if (saver_ && pid == saver_->worker.pid()) {
      saver_->worker.is_reaped();
      take_save_reports();
      saver_.reset();
      save_is_over();
    }
    // Else an orphan of COMMAND's, whose parent we are as process 1.
  }
}

// ----------------------------------------------------------------------------- the configuration

void Supervisor::await_configuration() {
  if (!options_.json) return configured(std::nullopt);
  auto inbox = TextInbox::open(*options_.json);
  if (!inbox)
    return give_up_configuration(std::string(thaw::name_of(inbox.error().code())),
                                 inbox.error().text());
  json_.emplace(*std::move(inbox));
  config_due_.set(options_.began + options_.await.value_or(options_.restore_timeout));
}

void Supervisor::take_configuration() {
  auto text = json_->take();
  if (!text)
    return give_up_configuration(std::string(thaw::name_of(text.error().code())),
                                 text.error().text());
  if (*text) configured(**text);
}

void Supervisor::give_up_configuration(const std::string& reason, const std::string& message) {
  json_.reset();
  config_due_.call_off();
  emit({{"event", "disabled"}, {"reason", reason}, {"message", message}});
  if (phase_ == Phase::awaiting) start_command();
}

void Supervisor::configured(const std::optional<std::string>& json) {
  json_.reset();
  config_due_.call_off();
  Configured found = configure_(json);
  if (const auto* disabled = std::get_if<Disabled>(&found)) {
    return give_up_configuration(disabled->reason, disabled->message);
  }
  if (phase_ == Phase::finishing || phase_ == Phase::over) return;
  work_ = std::get<Work>(std::move(found));
  const bool late = phase_ != Phase::awaiting;
  if (work_->restores) {
    begin_restore(late ? Moment::late : Moment::before_command);
  } else if (late) {
    begin_save();
  } else {
    start_command();
  }
}

// ------------------------------------------------------------------------------- before COMMAND

void Supervisor::begin_restore(Moment moment) {
  const Time now = Clock::now();
  const bool before = moment == Moment::before_command;
  if (before) phase_ = Phase::restoring;
  restore_pending_ = true;
  // Waiting for a configuration that was to be awaited is no part of the restore's time.
  const Time began = before && !options_.await ? options_.began : now;
  const Time due = began + options_.restore_timeout;
  const auto left = std::max(std::chrono::duration_cast<milliseconds>(due - now), milliseconds(1));
  auto worker = Worker::start(
      worker_options(before ? WorkerOptions::Priority::normal : WorkerOptions::Priority::low),
      [this, left, moment](const WorkerCalls& calls) {
        restore_paths(calls, work_->open, work_->paths, left, moment);
      });
  if (!worker) return restore_is_over("internal", worker.error().text());
  restorer_.emplace(*std::move(worker));
  restorer_->stop.set(due + kTimeoutPatience);
}

void Supervisor::take_restore_reports() {
  for (Event& event : restorer_->worker.reports()) {
    restored_.push_back(event.value("path", ""));
    if (event.value("applied", false)) half_restored_.push_back(restored_.back());
    // What a restore brought does not say that COMMAND is ready.
    if (phase_ == Phase::running && awaits_file_below(options_.readiness, restored_.back()))
      file_before_ = mark_of(options_.readiness.target);
    emit(std::move(event));
  }
  // The worker may go on for a moment: its tiers put away what they have fetched.
  if (restored_.size() == work_->paths.size()) restore_is_over("", "");
}

// With what is said of the paths that nothing was heard of.
void Supervisor::restore_is_over(const std::string& reason, const std::string& message) {
  if (!std::exchange(restore_pending_, false)) return;
  for (const PathName& each : work_->paths) {
    if (std::count(restored_.begin(), restored_.end(), each.path) > 0) continue;
    emit(failed_event("restore", each, restore_timed_out_ ? "timeout" : reason, message));
    // How far it came is not known.
    half_restored_.push_back(each.path);
  }
  if (restorer_) restorer_->stop.call_off();
  if (phase_ == Phase::restoring) return start_command();
  begin_save();
}

void Supervisor::end_before_command(int signal) {
  phase_ = Phase::finishing;
  ended_ = {128 + signal, signal};
  config_due_.call_off();
  json_.reset();
  if (restorer_) restorer_->end(Clock::now());
  end_if_done();
}

// -------------------------------------------------------------------------------------- COMMAND

// What COMMAND says that it is ready by. What cannot be set up is never ready.
void Supervisor::prepare_readiness(CommandLaunch& launch) {
  const Readiness& readiness = options_.readiness;
  std::optional<std::string> outer;
  if (const char* value = ::getenv("NOTIFY_SOCKET"); value != nullptr && *value != '\0')
    outer = value;
  std::optional<std::string> address;
  if (outer || readiness.kind == Readiness::Kind::notify) {
    auto relay = NotifyRelay::open(outer);
    if (!relay) log::warn("run: {}", relay.error().text());
    if (relay) {
      address = relay->address();
      notify_.emplace(*std::move(relay));
    }
  }
  launch.environment = environment_for_command(::environ, address);
  if (readiness.kind == Readiness::Kind::file) file_before_ = mark_of(readiness.target);
  if (readiness.kind != Readiness::Kind::fd) return;
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) != 0) return;
  ready_line_ = UniqueFd(ends[0]);
  // COMMAND's end waits like any other pipe.
  ::fcntl(ends[1], F_SETFL, 0);
  launch.passed = CommandLaunch::Passed{ends[1], readiness.number};
}

void Supervisor::start_command() {
  phase_ = Phase::running;
  config_due_.call_off();
  CommandLaunch what{.words = options_.command, .environment = {}, .signals = options_.signals};
  prepare_readiness(what);
  // What is in our memory and our environment is not COMMAND's to read.
  ::prctl(PR_SET_DUMPABLE, 0);
  const auto started = launch(what);
  if (what.passed) ::close(what.passed->fd);
  if (!started) {
    phase_ = Phase::finishing;
    ended_ = {exit_code_of_failed_launch(started.error()), 0};
    exit_message_ = started.error().text();
    log::write(log::Level::error, "run: " + exit_message_);
    restorer_.reset();
    return end_if_done();
  }
  command_ = *started;
  command_ran_ = true;
  emit({{"event", "started"}, {"pid", command_}});
  give_up_inherited_descriptors(options_.verbose ? StandardError::kept : StandardError::given_up);
  telling_.leave_standard_error();
  if (options_.readiness.kind == Readiness::Kind::after)
    ready_due_.set(Clock::now() + options_.readiness.after);
  begin_save();
}

void Supervisor::command_ended(int status) {
  ended_ = ended_of_status(status);
  phase_ = Phase::finishing;
  ready_due_.call_off();
  ready_line_.reset();
  json_.reset();
  config_due_.call_off();
  if (notify_) static_cast<void>(notify_->take(command_));
  if (restorer_) restorer_->worker.kill();
  restore_is_over("abandoned", "COMMAND ended");
  command_ = 0;
  finish_saves();
  end_if_done();
}

// ----------------------------------------------------------------------------------- behind it

// It is read to its end, also once it has said what counts: COMMAND may write on.
void Supervisor::take_readiness_line() {
  std::array<char, 512> piece{};
  const ssize_t n = ::read(ready_line_.get(), piece.data(), piece.size());
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) return ready_line_.reset();
  if (std::find(piece.begin(), piece.begin() + n, '\n') != piece.begin() + n) is_ready("fd");
}

void Supervisor::is_ready(const char* by) {
  if (std::exchange(ready_, true)) return;
  emit({{"event", "ready"}, {"by", by}});
  if (notify_ && options_.readiness.kind != Readiness::Kind::notify) notify_->say_ready();
  if (phase_ == Phase::running && !saver_) begin_save();
}

// Once all is known that a save needs: what, and that COMMAND is ready, or how to find out.
void Supervisor::begin_save() {
  const bool probed = is_probed(options_.readiness.kind) && !ready_;
  if (!work_ || !work_->saves || restore_pending_ || saver_ || save_over_) return;
  const bool behind_command = phase_ == Phase::running && (ready_ || probed);
  if (!behind_command && !saves_at_exit_) return;
  const SavePlan plan{.names = work_->paths,
                      .done = saved_,
                      .half_restored = half_restored_,
                      .settles = phase_ == Phase::running,
                      .quiet = options_.settle,
                      .left_out = {Globs(options_.exclude), work_->own_places},
                      .command = command_,
                      .timeout = options_.save_timeout};
  auto worker = Worker::start(
      worker_options(WorkerOptions::Priority::low), [this, probed, plan](const WorkerCalls& calls) {
        if (probed) {
          if (!wait_until_ready(calls.context, options_.readiness, file_before_)) return;
          calls.reporter.tell({{"event", "ready"}, {"by", name_of(options_.readiness.kind)}});
        }
        save_paths(calls, work_->open, plan);
      });
  if (!worker) {
    log::warn("run: {}", worker.error().text());
    return save_is_over();
  }
  saver_.emplace(*std::move(worker));
}

void Supervisor::take_save_reports() {
  for (Event& event : saver_->worker.reports()) {
    const std::string step = event.value("event", "");
    if (step == "ready") {
      is_ready(name_of(options_.readiness.kind));
      continue;
    }
    if (step == "settled") settled_ = true;
    if (step == "save") {
      told_.push_back(event.value("path", ""));
      const bool again = may_be_saved_later(event);
      if (!again) saved_.push_back(told_.back());
      failed_behind_command_ = failed_behind_command_ || (again && phase_ == Phase::running);
    }
    emit(std::move(event));
  }
}

void Supervisor::save_is_over() {
  save_over_ = true;
  // The kernel may have ended it for want of memory: it is the first to go.
  if (phase_ == Phase::running) {
    for (const PathName& each : work_->paths) {
      if (std::count(told_.begin(), told_.end(), each.path) > 0) continue;
      told_.push_back(each.path);
      failed_behind_command_ = true;
      emit(failed_event("save", each, "internal",
                        "the process that saved it ended before it was done"));
    }
  }
  if (saves_at_exit_) save_again();
  if (saver_) return;
  save_due_.call_off();
  end_if_done();
}

// COMMAND has ended: what is under way is finished, or abandoned.
void Supervisor::finish_saves() {
  const bool by_exit = options_.readiness.kind == Readiness::Kind::exit;
  if (by_exit && ended_.code == 0) is_ready("exit");
  // Who was told to end did not break off in the middle of its work; who was killed may have.
  const bool orderly = ended_.signal == 0 || ended_.signal == SIGTERM || ended_.signal == SIGINT ||
                       ended_.signal == SIGHUP;
  const Time now = Clock::now();
  if (!options_.save_on_exit || !orderly || !ready_ || restore_pending_) {
    if (saver_ && !orderly) saver_->worker.kill();
    if (saver_) saver_->end(now);
    return;
  }
  saves_at_exit_ = true;
  save_due_.set(now + options_.save_timeout);
  if (saver_) {
    saver_->worker.hurry();
  } else if (save_over_) {
    save_again();
  } else {
    begin_save();
  }
}

// What failed while COMMAND ran is tried once more.
void Supervisor::save_again() {
  if (!std::exchange(failed_behind_command_, false)) return;
  save_over_ = false;
  begin_save();
}

void Supervisor::end_if_done() {
  if (phase_ != Phase::finishing || saver_) return;
  // A restore that is put away holds nobody up once COMMAND has run.
  if (restorer_ && !command_ran_) return;
  tell_what_was_not_saved();
  Event last = {{"event", "exit"}, {"code", ended_.code}};
  if (ended_.signal != 0) last["signal"] = ended_.signal;
  if (!exit_message_.empty()) last["message"] = exit_message_;
  emit(std::move(last));
  phase_ = Phase::over;
}

void Supervisor::tell_what_was_not_saved() {
  if (!command_ran_ || !work_ || !work_->saves) return;
  const char* reason = "abandoned";
  const char* message = "COMMAND ended while it was being saved";
  if (options_.readiness.kind == Readiness::Kind::never) {
    return;  // nobody asked for it
  } else if (!ready_) {
    reason = "not_ready";
    message = "COMMAND ended before it was ready";
  } else if (!settled_ && !saves_at_exit_) {
    reason = "not_settled";
    message = "COMMAND ended before nothing changed any more";
  }
  for (const PathName& each : work_->paths) {
    if (std::count(told_.begin(), told_.end(), each.path) > 0) continue;
    emit(failed_event("save", each, reason, message));
  }
}

}  // namespace

int supervise(const StartOptions& options, const Configure& configure) {
  return Supervisor(options, configure).run();
}

}  // namespace thaw::run
