// Where chunks are, as directory nodes say: what a node that does not follow the others asks them,
// what they answered, and for how long that is believed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/inlined_vector.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "common/ids.h"
#include "daemon/cluster/fetch_name.h"
#include "daemon/index/chunk_event.h"

namespace larder {

struct DirectoryOptions {
  // Without an answer for so long another directory node is asked, once.
  absl::Duration answer_timeout = absl::Milliseconds(20);
  // One that did not answer is left alone for so long.
  absl::Duration silent_pause = absl::Milliseconds(250);
  // How long answers are believed: where a chunk is, and that it is nowhere.
  absl::Duration found_for = absl::Seconds(5);
  absl::Duration nowhere_for = absl::Milliseconds(100);
  // Chunks of each kind of answer; the oldest make room.
  size_t known_max = 1 << 20;
  // Chunks that are being asked for at once; more are not found.
  size_t asked_max = 1 << 16;
  // Chunks in one question.
  size_t question_keys_max = 256;
};

// Pure; not thread-safe. Each chunk is asked for once at a time. The answers themselves are in the
// index; this says when they are to be removed from it.
class Directory {
 public:
  using Holders = absl::InlinedVector<NodeSlot, 2>;

  // REQUIRES: no maximum is 0.
  explicit Directory(const DirectoryOptions& options) : options_(options) {}

  // The directory nodes that can be asked now, in an order that is the same at all nodes. What the
  // others were asked goes to the next one.
  void SetNodes(std::vector<NodeSlot> nodes, MonotonicTime now);

  enum class Known {
    kNothing,  // and nobody can be asked now
    kAsked,
    kFound,
    kNowhere,
  };
  // What is known of the chunk; if nothing is, it is asked for.
  Known Look(const FetchName& name, MonotonicTime now);
  bool IsAsked(const FetchName& name) const;
  bool asking() const { return asked_ > 0; }
  // What was found is no longer so: the next Look asks again.
  void Forget(const FetchName& name);
  // All that is known and asked. Nothing of it is in TakeExpired.
  void Clear();

  struct Question {
    NodeSlot node = 0;
    uint64_t number = 0;
    uint32_t space = 0;
    std::vector<KeyHash> keys;
    MonotonicTime deadline = {};
    int tries = 0;
  };
  // To be sent now.
  std::vector<Question> TakeQuestions(MonotonicTime now);
  // The question that `from` answers; Learn or AskOther follows for each of its keys. Nothing when
  // it was not asked that, or not any more.
  std::optional<Question> TakeAnswered(NodeSlot from, uint64_t number);
  // The answer to the question leaves some of its chunks open: another node is asked for these.
  void AskOther(Question question, std::vector<KeyHash> open, MonotonicTime now);
  // Who holds a chunk that was asked for; nobody, when it is nowhere.
  void Learn(const FetchName& name, Holders holders, MonotonicTime now);

  void Tick(MonotonicTime now);
  // When the next question's time is up. What is known ends at any Tick after its time.
  std::optional<MonotonicTime> next_wakeup() const;
  // Anything came from that node: it is silent no longer.
  void OnHeard(NodeSlot node) { silent_until_.erase(node); }
  // Whether questions have ended without an answer since the last call: their chunks are nowhere.
  bool TakeGivenUp() { return std::exchange(given_up_, false); }
  // What was learned and is not believed any more.
  std::vector<std::pair<FetchName, Holders>> TakeExpired() { return std::exchange(expired_, {}); }

  struct Stats {
    uint64_t questions = 0;   // sent, second tries too
    uint64_t answers = 0;     // to them
    uint64_t unanswered = 0;  // questions whose time was up, or whose node was lost
    uint64_t unwanted = 0;    // answers to what was not asked, or not any more
    // Chunks that were asked for, by what became of it.
    uint64_t found = 0, nowhere = 0, given_up = 0;
    size_t known = 0, asked = 0;  // chunks
  };
  Stats stats() const;

 private:
  struct Entry {
    Known known = Known::kAsked;
    MonotonicTime until;
    Holders holders;
  };
  using Order = std::deque<std::pair<FetchName, MonotonicTime>>;  // by the time they end

  std::optional<NodeSlot> Choose(const Question& question, MonotonicTime now) const;
  bool IsSilent(NodeSlot node, MonotonicTime now) const;
  void Know(const FetchName& name, Holders holders, MonotonicTime now);
  void Ask(Question question, MonotonicTime now);
  void AskAgain(Question question, MonotonicTime now);
  void DropOldest(Order& order);

  const DirectoryOptions options_;
  std::vector<NodeSlot> nodes_;
  absl::flat_hash_map<NodeSlot, MonotonicTime> silent_until_;
  absl::flat_hash_map<FetchName, Entry> entries_;
  // Of the entries that are known; some of these were forgotten or learned again since.
  Order found_, nowhere_;
  std::vector<std::pair<FetchName, Holders>> expired_;
  size_t asked_ = 0;
  std::vector<FetchName> unsent_;
  std::map<uint64_t, Question> questions_;  // by number and so by deadline
  std::vector<Question> outgoing_;
  uint64_t next_number_ = 1;
  bool given_up_ = false;
  Stats stats_;
};

}  // namespace larder
