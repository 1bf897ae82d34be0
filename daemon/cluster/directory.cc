#include "daemon/cluster/directory.h"

#include <algorithm>

namespace larder {
namespace {

// How many directory nodes are asked the same.
constexpr int kTriesMax = 2;

}  // namespace

// --- who is asked -------------------------------------------------------------------------------

void Directory::SetNodes(std::vector<NodeSlot> nodes, MonotonicTime now) {
  nodes_ = std::move(nodes);
  const auto is_lost = [&](NodeSlot node) {
    return std::find(nodes_.begin(), nodes_.end(), node) == nodes_.end();
  };
  absl::erase_if(silent_until_, [&](const auto& silent) { return is_lost(silent.first); });
  std::vector<Question> lost;
  for (const auto& [number, question] : questions_) {
    if (is_lost(question.node)) lost.push_back(question);
  }
  for (Question& question : lost) AskAgain(std::move(question), now);
}

bool Directory::IsSilent(NodeSlot node, MonotonicTime now) const {
  const auto silent = silent_until_.find(node);
  return silent != silent_until_.end() && silent->second > now;
}

std::optional<NodeSlot> Directory::Choose(const Question& question, MonotonicTime now) const {
  const uint64_t first = question.keys.front().low;
  for (size_t i = 0; i < nodes_.size(); ++i) {
    const NodeSlot node = nodes_[(first + i) % nodes_.size()];
    const bool asked_before = question.tries > 0 && node == question.node;
    if (!asked_before && !IsSilent(node, now)) return node;
  }
  return std::nullopt;
}

// --- what is known ------------------------------------------------------------------------------

Directory::Known Directory::Look(const FetchName& name, MonotonicTime now) {
  const auto found = entries_.find(name);
  if (found != entries_.end() &&
      (found->second.known != Known::kNowhere || found->second.until > now)) {
    return found->second.known;
  }
  const bool somebody = std::any_of(nodes_.begin(), nodes_.end(),
                                    [&](NodeSlot node) { return !IsSilent(node, now); });
  if (!somebody || asked_ >= options_.asked_max) return Known::kNothing;
  entries_[name].known = Known::kAsked;
  ++asked_;
  unsent_.push_back(name);
  return Known::kAsked;
}

bool Directory::IsAsked(const FetchName& name) const {
  const auto found = entries_.find(name);
  return found != entries_.end() && found->second.known == Known::kAsked;
}

void Directory::Forget(const FetchName& name) {
  const auto found = entries_.find(name);
  if (found == entries_.end() || found->second.known != Known::kFound) return;
  expired_.emplace_back(name, std::move(found->second.holders));
  entries_.erase(found);
}

void Directory::Clear() {
  entries_.clear();
  found_.clear();
  nowhere_.clear();
  expired_.clear();
  unsent_.clear();
  questions_.clear();
  outgoing_.clear();
  asked_ = 0;
}

void Directory::Learn(const FetchName& name, Holders holders, MonotonicTime now) {
  ++(holders.empty() ? stats_.nowhere : stats_.found);
  Know(name, std::move(holders), now);
}

void Directory::Know(const FetchName& name, Holders holders, MonotonicTime now) {
  const auto found = entries_.find(name);
  if (found == entries_.end() || found->second.known != Known::kAsked) return;
  --asked_;
  const bool nowhere = holders.empty();
  Entry& entry = found->second;
  entry.known = nowhere ? Known::kNowhere : Known::kFound;
  entry.until = now + (nowhere ? options_.nowhere_for : options_.found_for);
  entry.holders = std::move(holders);
  Order& order = nowhere ? nowhere_ : found_;
  order.emplace_back(name, entry.until);
  while (order.size() > options_.known_max) DropOldest(order);
}

void Directory::DropOldest(Order& order) {
  const auto [name, until] = order.front();
  order.pop_front();
  const auto found = entries_.find(name);
  if (found == entries_.end() || found->second.until != until ||
      found->second.known == Known::kAsked) {
    return;
  }
  if (found->second.known == Known::kFound) {
    expired_.emplace_back(name, std::move(found->second.holders));
  }
  entries_.erase(found);
}

// --- questions ----------------------------------------------------------------------------------

void Directory::Ask(Question question, MonotonicTime now) {
  const std::optional<NodeSlot> node = Choose(question, now);
  if (!node || question.tries == kTriesMax) {
    given_up_ = true;
    stats_.given_up += question.keys.size();
    for (const KeyHash& key : question.keys) Know({question.space, key}, {}, now);
    return;
  }
  question.node = *node;
  question.number = next_number_++;
  question.deadline = now + options_.answer_timeout;
  ++question.tries;
  ++stats_.questions;
  outgoing_.push_back(question);
  questions_[question.number] = std::move(question);
}

void Directory::AskAgain(Question question, MonotonicTime now) {
  ++stats_.unanswered;
  questions_.erase(question.number);
  Ask(std::move(question), now);
}

void Directory::AskOther(Question question, std::vector<KeyHash> open, MonotonicTime now) {
  question.keys = std::move(open);
  Ask(std::move(question), now);
}

std::vector<Directory::Question> Directory::TakeQuestions(MonotonicTime now) {
  std::map<uint32_t, std::vector<KeyHash>> by_space;
  for (const FetchName& name : std::exchange(unsent_, {})) by_space[name.space].push_back(name.key);
  for (const auto& [space, keys] : by_space) {
    for (size_t first = 0; first < keys.size(); first += options_.question_keys_max) {
      const size_t end = std::min(keys.size(), first + options_.question_keys_max);
      Ask({.space = space, .keys = {keys.begin() + first, keys.begin() + end}}, now);
    }
  }
  return std::exchange(outgoing_, {});
}

std::optional<Directory::Question> Directory::TakeAnswered(NodeSlot from, uint64_t number) {
  const auto found = questions_.find(number);
  if (found == questions_.end() || found->second.node != from) {
    ++stats_.unwanted;
    return std::nullopt;
  }
  ++stats_.answers;
  Question question = std::move(found->second);
  questions_.erase(found);
  return question;
}

// --- time ---------------------------------------------------------------------------------------

void Directory::Tick(MonotonicTime now) {
  for (Order* order : {&found_, &nowhere_}) {
    while (!order->empty() && order->front().second <= now) DropOldest(*order);
  }
  while (!questions_.empty() && questions_.begin()->second.deadline <= now) {
    Question question = questions_.begin()->second;
    silent_until_[question.node] = now + options_.silent_pause;
    AskAgain(std::move(question), now);
  }
}

std::optional<MonotonicTime> Directory::next_wakeup() const {
  if (questions_.empty()) return std::nullopt;
  return questions_.begin()->second.deadline;
}

Directory::Stats Directory::stats() const {
  Stats stats = stats_;
  stats.known = entries_.size() - asked_;
  stats.asked = asked_;
  return stats;
}

}  // namespace larder
