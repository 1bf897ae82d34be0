#include "tests/sim/sim_client.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace larder {
namespace {

constexpr absl::Duration kPoll = absl::Milliseconds(2);

}  // namespace

SimClient::SimClient(SimWorld* world, SimNode* node, uint64_t seed, SimClientStats* stats)
    : world_(world), node_(node), random_(seed), stats_(stats) {}

void SimClient::Start(MonotonicTime until) {
  until_ = until;
  life_ = node_->host().life();
  session_ = *core().OpenSession();
  idle_ = false;
  Think();
}

void SimClient::Later(absl::Duration delay, EventQueue::Action action) {
  world_->queue->After(
      delay, [this, life = life_, action = std::move(action)] { node_->Do(life, action); });
}

void SimClient::Think() {
  if (world_->queue->now() >= until_) {
    if (!world_->bugs.forgets_leases) core().CloseSession(session_);
    idle_ = true;
    return;
  }
  Later(absl::Microseconds(random_.Below(60'000)), [this] { Request(); });
}

std::vector<KeyHash> SimClient::KeysFrom(const std::vector<SimChunk>& chunks, size_t from) const {
  std::vector<KeyHash> keys;
  for (size_t i = from; i < chunks.size(); ++i) keys.push_back(KeyOf(chunks[i]));
  return keys;
}

void SimClient::Request() {
  if (random_.Below(12) == 0) {
    Meddle();
    return Think();
  }
  // Some conversations are more popular than others.
  const auto conversation = static_cast<uint32_t>(
      std::min(random_.Below(kSimConversations), random_.Below(kSimConversations)));
  Read read;
  read.chunks = SimPrefix(static_cast<uint32_t>(random_.Below(kSimSpaces)), conversation,
                          static_cast<uint32_t>(1 + random_.Below(kSimDepth)));
  read.deadline = now() + kPatience;
  read.waits_since = now();
  ++stats_->requests;
  stats_->chunks_wanted += read.chunks.size();
  Look(std::move(read));
}

void SimClient::Look(Read read) {
  const LookupOptions options{.touch = true, .may_wait = now() < read.waits_since + kLookPatience};
  const auto match = core().Match(read.chunks[0].space, KeysFrom(read.chunks, 0), options, now());
  if (match->locating) return Later(kPoll, [this, read = std::move(read)] { Look(read); });
  read.waits_since = now();
  GoOn(std::move(read));
}

// --- reading -----------------------------------------------------------------------------------

void SimClient::GoOn(Read read) {
  const uint32_t space = read.chunks[0].space;
  const std::vector<KeyHash> keys = KeysFrom(read.chunks, read.done);
  if (keys.empty()) return EndRead(read);
  const Core::LoadResult load = core().Load(space, keys, /*local_only=*/false, now());
  if (load.in_memory == 0 && load.coming == 0) return EndRead(read);
  if (load.in_memory == 0) {
    if (now() - read.waits_since > kPromiseMax) {
      return world_->fail(absl::StrCat("node ", node_->id(), ": chunk ",
                                       NumberOf(read.chunks[read.done]),
                                       " is said to be coming and does not come"));
    }
    // One of two engines waits as long as there is hope.
    const bool gives_up = now() >= read.deadline && random_.Below(2) == 0;
    if (gives_up) return EndRead(read);
    return Later(kPoll, [this, read = std::move(read)] { GoOn(read); });
  }
  const Manifest& manifest = core().FindSpace(space)->description.manifest;
  const auto acquired = core().Acquire(session_, space, std::span(keys).subspan(0, load.in_memory),
                                       manifest.WholePart(), now());
  if (!acquired.ok() || acquired->chunks.empty()) return EndRead(read);
  Use(std::move(read), *acquired, acquired->chunks.size());
}

void SimClient::Use(Read read, const AcquireResult& acquired, size_t count) {
  Check(read, acquired, "when it was leased");
  // Whatever happens meanwhile, what is leased stays.
  Later(absl::Microseconds(random_.Below(3000)), [this, read, acquired, count] {
    Check(read, acquired, "while it was leased");
    if (random_.Below(100) == 0) return Die();
    const bool forgets = world_->bugs.forgets_leases && random_.Below(20) == 0;
    if (!forgets && !core().Release(session_, acquired.lease).ok()) {
      return world_->fail(absl::StrCat("node ", node_->id(), ": a lease has vanished"));
    }
    Read rest = read;
    rest.done += count;
    rest.waits_since = now();
    stats_->chunks_read += count;
    GoOn(std::move(rest));
  });
}

void SimClient::Check(const Read& read, const AcquireResult& acquired, const char* when) {
  for (size_t i = 0; i < acquired.chunks.size(); ++i) {
    const SimChunk& chunk = read.chunks[read.done + i];
    const AcquireResult::LeasedChunk& leased = acquired.chunks[i];
    for (uint32_t j = 0; j < leased.extent_count; ++j) {
      const BlockExtent& extent = acquired.extents[leased.first_extent + j];
      const std::string problem =
          CheckSimContainer(chunk, node_->IdOf(chunk.space), extent.part,
                            node_->arena().subspan(extent.offset, extent.bytes));
      if (problem.empty()) continue;
      world_->fail(absl::StrCat("node ", node_->id(), ": wrong bytes in chunk ", NumberOf(chunk),
                                " ", when, ": ", problem));
    }
  }
}

void SimClient::EndRead(const Read& read) {
  if (read.done < read.chunks.size()) {
    Put(read.chunks, read.done);
  } else {
    Think();
  }
}

// --- putting -----------------------------------------------------------------------------------

void SimClient::Put(std::vector<SimChunk> chunks, size_t from) {
  if (from >= chunks.size()) return Think();
  const SimChunk& chunk = chunks[from];
  const std::vector<Part> parts = PartsOf(chunk, random_.Below(3) == 0 ? 2 : 1);
  const Manifest& manifest = core().FindSpace(chunk.space)->description.manifest;
  std::vector<ReserveItem> items;
  for (const Part& part : parts) {
    items.push_back({.key = KeyOf(chunk),
                     .parent = ParentOf(chunk),
                     .depth = chunk.depth,
                     .part = part,
                     .bytes = RawContainerBytes(manifest, part)});
  }
  ReserveOptions options;
  if (random_.Below(10) == 0) options.ttl = absl::Milliseconds(500 + random_.Below(10'000));
  const auto outcomes = core().Reserve(session_, chunk.space, items, options, now());
  if (!outcomes.ok()) return Think();
  // Some engines never finish.
  if (random_.Below(50) == 0) return Think();
  Later(absl::Microseconds(random_.Below(2000)),
        [this, chunks = std::move(chunks), from, parts, outcomes = *outcomes] {
          if (random_.Below(200) == 0) return Die();
          Fill(chunks[from], parts, outcomes);
          Put(chunks, from + 1);
        });
}

void SimClient::Fill(const SimChunk& chunk, const std::vector<Part>& parts,
                     const std::vector<ReserveOutcome>& outcomes) {
  for (size_t i = 0; i < parts.size(); ++i) {
    if (outcomes[i].kind != ReserveOutcome::Kind::kGranted) continue;
    const Reservation* reservation = core().FindReservation(session_, outcomes[i].id);
    if (reservation == nullptr) continue;
    WriteSimContainer(chunk, node_->IdOf(chunk.space), parts[i],
                      node_->arena().subspan(reservation->offset, reservation->bytes));
    const std::vector<absl::Status> committed =
        core().Commit(session_, {&outcomes[i].id, 1}, now());
    if (committed[0].ok()) ++stats_->chunks_put;
  }
}

// --- everything else ---------------------------------------------------------------------------

void SimClient::Die() {
  core().CloseSession(session_);
  session_ = *core().OpenSession();
  Think();
}

void SimClient::Meddle() {
  const std::vector<SimChunk> all = AllSimChunks();
  const SimChunk& chunk = all[random_.Below(all.size())];
  const KeyHash key = KeyOf(chunk);
  const uint64_t other = random_.Below(8);
  switch (random_.Below(5)) {
    case 0:
      (void)core().Remove(chunk.space, {&key, 1}, RemovalCause::kRemoved);
      return;
    case 1:
      (void)core().Hint(chunk.space, {&key, 1}, {.keep = absl::Seconds(5)}, now());
      return;
    case 2:
      (void)node_->cluster().Replicate(chunk.space, key,
                                       static_cast<uint32_t>(2 + random_.Below(2)), "",
                                       now() + absl::Seconds(5), now());
      ++stats_->wishes;
      return;
    case 3:
      (void)node_->cluster().Replicate(chunk.space, key, 2,
                                       SimNodeName(static_cast<SimNodeId>(other)),
                                       now() + absl::Seconds(5), now());
      ++stats_->wishes;
      return;
    default:
      (void)core().Places(chunk.space, {&key, 1}, now());
  }
}

}  // namespace larder
