// The handle of an asynchronous call.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

namespace larder {

// Asks a running call to stop. Copies share one flag. Thread-safe.
class CancelToken {
 public:
  CancelToken() : flag_(std::make_shared<std::atomic<bool>>(false)) {}
  void Cancel() const { flag_->store(true, std::memory_order_relaxed); }
  bool cancelled() const { return flag_->load(std::memory_order_relaxed); }

 private:
  std::shared_ptr<std::atomic<bool>> flag_;
};

// The result of a call that runs on another thread. Copies share one result. Thread-safe.
// The caller keeps keys, destinations and sources alive until the operation is done; dropping the
// handle neither cancels nor waits.
template <typename T>
class Operation {
 public:
  Operation() : state_(std::make_shared<State>()) {}

  bool done() const {
    std::lock_guard lock(state_->mutex);
    return state_->result.has_value();
  }

  // Waits for the end, which the call's own deadline bounds.
  const T& Wait() const {
    std::unique_lock lock(state_->mutex);
    state_->finished.wait(lock, [this] { return state_->result.has_value(); });
    return *state_->result;
  }

  // Calls `callback` with the result, now or on the thread that finishes the call. Set it once.
  void OnDone(std::function<void(const T&)> callback) {
    {
      std::lock_guard lock(state_->mutex);
      if (!state_->result) {
        state_->callback = std::move(callback);
        return;
      }
    }
    callback(*state_->result);
  }

  // The call ends soon with CANCELLED, keeping what it has finished, unless it is done already.
  void Cancel() const { state_->cancel.Cancel(); }
  const CancelToken& cancel_token() const { return state_->cancel; }

  // For the side that runs the call; once.
  void Finish(T result) const {
    std::function<void(const T&)> callback;
    {
      std::lock_guard lock(state_->mutex);
      state_->result = std::move(result);
      callback = std::move(state_->callback);
    }
    state_->finished.notify_all();
    if (callback) callback(*state_->result);
  }

 private:
  struct State {
    CancelToken cancel;
    std::mutex mutex;
    std::condition_variable finished;
    std::optional<T> result;
    std::function<void(const T&)> callback;
  };
  std::shared_ptr<State> state_;
};

}  // namespace larder
