#include <algorithm>

#include "daemon/config/setting.h"
#include "storage/arena/block_table_format.h"
#include "transport/local/frame_format.h"

namespace larder {
namespace {

constexpr double kKiB = 1024, kMiB = 1024 * kKiB, kTiB = kMiB * kMiB;
constexpr double kDay = 24 * 3600;

constexpr Setting kSettings[] = {
    // --- arena ----------------------------------------------------------------------------------
    {.name = "arena.directory",
     .flag = "--arena-directory",
     .kind = SettingKind::kText,
     .target = [](Config& c) -> SettingTarget { return &c.node.arena.directory; },
     .doc = "Where the arena's files are. Made when missing, with mode 0700; one daemon owns it.\n"
            "On a memory file system: chunks there outlive the daemon, not the machine."},
    {.name = "arena.bytes",
     .flag = "--arena-bytes",
     .kind = SettingKind::kBytes,
     .target = [](Config& c) -> SettingTarget { return &c.node.arena.data_bytes; },
     .min = 16 * kMiB,
     .max = 1024 * kTiB,
     .doc = "Memory for chunks. A multiple of the granule. The file system must have room for it\n"
            "and about 0.1% more. An existing arena of another size is not resized: begin empty\n"
            "with --arena-reset."},
    {.name = "arena.granule",
     .kind = SettingKind::kBytes,
     .target = [](Config& c) -> SettingTarget { return &c.node.arena.granule_bytes; },
     .min = 4 * kKiB,
     .max = 1024 * kMiB,
     .power_of_two = true,
     .doc = "Chunks begin at multiples of it. Larger ones waste more of the arena and need less\n"
            "bookkeeping. Cannot change without a reset."},
    {.name = "arena.blocks_max",
     .kind = SettingKind::kCount,
     .target = [](Config& c) -> SettingTarget { return &c.node.arena.blocks_max; },
     .min = 0,
     .max = static_cast<double>(kBlockRecordsMax),
     .doc = "Most parts of chunks that can be stored. 0: one a granule, at most 16777216. Each\n"
            "takes 128 bytes once it is used. Cannot change without a reset."},
    {.name = "arena.huge_pages",
     .kind = SettingKind::kChoice,
     .target = [](Config& c) -> SettingTarget { return &c.node.arena.huge_pages; },
     .choices = "never|auto|require",
     .doc =
         "Whether the chunks lie on a hugetlbfs mount: never; auto: when one has room for all of\n"
         "them; require: not starting otherwise. Looked at when an arena is made."},
    {.name = "arena.prefault",
     .kind = SettingKind::kFlag,
     .target = [](Config& c) -> SettingTarget { return &c.node.arena.prefault; },
     .doc = "Maps the whole arena in the background after the start, so that the first puts and\n"
            "fetches do not pay for page faults."},
    // --- local ----------------------------------------------------------------------------------
    {.name = "local.socket",
     .flag = "--socket",
     .kind = SettingKind::kText,
     .target = [](Config& c) -> SettingTarget { return &c.node.local.listen.path; },
     .doc = "The Unix socket at which engines on this machine meet the daemon. Its directory is\n"
            "made when only that is missing."},
    {.name = "local.mode",
     .kind = SettingKind::kMode,
     .target = [](Config& c) -> SettingTarget { return &c.node.local.listen.mode; },
     .doc = "Permissions of the socket. Who may write to it may try to connect; whether they are\n"
            "let in is up to allowed_users and allow_any_user."},
    {.name = "local.group",
     .kind = SettingKind::kText,
     .target = [](Config& c) -> SettingTarget { return &c.node.local.listen.group; },
     .doc = "Group of the socket, by name. Empty: the daemon's own."},
    {.name = "local.allowed_users",
     .kind = SettingKind::kUsers,
     .target = [](Config& c) -> SettingTarget { return &c.node.local.allowed_users; },
     .doc = "Who may connect besides root and the daemon's own user: names or numbers. Whoever\n"
            "connects can read and write the whole arena."},
    {.name = "local.allow_any_user",
     .kind = SettingKind::kFlag,
     .target = [](Config& c) -> SettingTarget { return &c.node.local.allow_any_user; },
     .doc = "Lets everybody in whom the permissions of the socket admit."},
    {.name = "local.handshake_timeout",
     .kind = SettingKind::kDuration,
     .target = [](Config& c) -> SettingTarget { return &c.node.local.handshake_timeout; },
     .min = 0.01,
     .max = 600,
     .doc = "How long a new connection may take to say who it is."},
    {.name = "local.session_timeout",
     .kind = SettingKind::kDuration,
     .target = [](Config& c) -> SettingTarget { return &c.node.local.session_timeout; },
     .min = 0.1,
     .max = kDay,
     .doc = "A client whose heart has not beaten for so long loses its leases. At least three\n"
            "heartbeats. A client that dies is noticed at once and without this."},
    {.name = "local.heartbeat_interval",
     .kind = SettingKind::kDuration,
     .target = [](Config& c) -> SettingTarget { return &c.node.local.heartbeat_interval; },
     .min = 0.01,
     .max = 3600,
     .doc = "How often clients show that they live."},
    {.name = "local.ring_bytes",
     .kind = SettingKind::kBytes,
     .target = [](Config& c) -> SettingTarget { return &c.node.local.ring_bytes; },
     .min = kRingBytesMin,
     .max = kRingBytesMax,
     .power_of_two = true,
     .doc = "Size of each of the two rings that a client shares with the daemon. More only helps\n"
            "clients with many large calls under way at once."},
    {.name = "local.spin",
     .kind = SettingKind::kDuration,
     .target = [](Config& c) -> SettingTarget { return &c.node.spin_limit; },
     .min = 0,
     .max = 1,
     .doc =
         "How long the daemon polls after the last request before it sleeps. A polling daemon\n"
         "answers in microseconds and takes a whole core meanwhile; waking a sleeping one takes\n"
         "about 50 us. \"0\" never polls."},
    // --- core -----------------------------------------------------------------------------------
    {.name = "core.pinned_fraction_max",
     .kind = SettingKind::kFraction,
     .target = [](Config& c) -> SettingTarget { return &c.node.core.pinned_fraction_max; },
     .min = 0,
     .max = 1,
     .doc = "Share of the arena that pinned chunks may take, so that pins cannot starve others."},
    {.name = "core.reservation_ttl_max",
     .kind = SettingKind::kDuration,
     .target = [](Config& c) -> SettingTarget { return &c.node.core.reservation_ttl_max; },
     .min = 0.1,
     .max = kDay,
     .doc = "Longest time that a writer may take from reserving room to committing the chunk."},
    {.name = "core.sessions_max",
     .kind = SettingKind::kCount,
     .target = [](Config& c) -> SettingTarget { return &c.node.core.sessions_max; },
     .min = 1,
     .max = 1 << 20,
     .doc = "Most clients at once. Each takes two file descriptors of the daemon."},
    {.name = "core.spaces_max",
     .kind = SettingKind::kCount,
     .target = [](Config& c) -> SettingTarget { return &c.node.core.spaces_max; },
     .min = 1,
     .max = 1 << 20,
     .doc = "Most spaces (models, tenants and salts) since the arena was made."},
    {.name = "core.leases_per_session_max",
     .kind = SettingKind::kCount,
     .target = [](Config& c) -> SettingTarget { return &c.node.core.leases_per_session_max; },
     .min = 1,
     .max = 1 << 24,
     .doc = "Most reads that one client may have under way or hold views of."},
    {.name = "core.reservations_per_session_max",
     .kind = SettingKind::kCount,
     .target = [](Config& c) -> SettingTarget { return &c.node.core.reservations_per_session_max; },
     .min = 1,
     .max = 1 << 24,
     .doc = "Most chunks that one client may be writing at once."},
    // --- policy ---------------------------------------------------------------------------------
    {.name = "policy.order",
     .kind = SettingKind::kChoice,
     .target = [](Config& c) -> SettingTarget { return &c.node.core.order; },
     .choices = "learned|lru",
     .doc =
         "In which order chunks leave memory. learned: the least expected uses per second first,\n"
         "as learned from past uses, and least recently used while that does worse; it may also\n"
         "refuse what is worth less than all that is stored. lru: least recently used."},
    {.name = "policy.drop_levels",
     .kind = SettingKind::kChoice,
     .target = [](Config& c) -> SettingTarget { return &c.node.core.drop_levels; },
     .choices = "never|finest-first",
     .doc =
         "What a chunk of codec larder loses first when it has to make room and no disk has it.\n"
         "finest-first: the levels above policy.levels_min, and only then the rest; readers are\n"
         "told how many there are. never: all of it at once."},
    {.name = "policy.levels_min",
     .kind = SettingKind::kCount,
     .target = [](Config& c) -> SettingTarget { return &c.node.core.levels_min; },
     .min = 1,
     .max = 3,
     .doc = "So many levels such a chunk keeps. With two of four it takes half of its bytes."},
    {.name = "policy.attention_equals_rest_tokens",
     .kind = SettingKind::kFraction,
     .target = [](Config& c) -> SettingTarget {
       return &c.node.core.cost.attention_equals_rest_tokens;
     },
     .min = 1,
     .max = 1e12,
     .doc =
         "At this position in a prompt attention takes as much work as all else: parameters over\n"
         "(2 x layers x width). The default is that of Llama 3 8B."},
    {.name = "policy.tenants",
     .kind = SettingKind::kTenants,
     .target = [](Config& c) -> SettingTarget { return &c.node.core.tenants; },
     .doc = "Quotas of tenants, \"NAME memory=4GiB..8GiB disk=..20GiB\": what a tenant is sure of\n"
            "and the most that it may have. What it does not use of the former is lent to others.\n"
            "Guarantees of memory add up to the arena at most, those of disk to half of the tier."},
    {.name = "policy.hint_keep_max",
     .kind = SettingKind::kDuration,
     .target = [](Config& c) -> SettingTarget { return &c.node.core.hints.keep_max; },
     .min = 1,
     .max = kDay,
     .doc = "The longest time for which a hint keeps a chunk in memory."},
    {.name = "policy.hint_fraction_max",
     .kind = SettingKind::kFraction,
     .target = [](Config& c) -> SettingTarget { return &c.node.core.hints.kept_fraction_max; },
     .min = 0,
     .max = 1,
     .doc =
         "Share of what a tenant is sure of (of the arena, without quotas) that hints may keep."},
    {.name = "policy.explain_records",
     .kind = SettingKind::kCount,
     .target = [](Config& c) -> SettingTarget { return &c.node.core.explain_records; },
     .min = 0,
     .max = 1 << 26,
     .doc = "So many chunks that left are remembered, to explain why they are not there; about 32\n"
            "bytes each."},
    // --- disk -----------------------------------------------------------------------------------
    {.name = "disk.paths",
     .flag = "--disk",
     .kind = SettingKind::kText,
     .target = [](Config& c) -> SettingTarget { return &c.node.disk.paths; },
     .doc =
         "Directories of the disk tier, separated by commas, each on a device of its own; chunks\n"
         "are striped over them. Empty: no disk tier."},
    {.name = "disk.capacity",
     .flag = "--disk-capacity",
     .kind = SettingKind::kBytes,
     .target = [](Config& c) -> SettingTarget { return &c.node.disk.capacity_bytes; },
     .min = 64 * kMiB,
     .max = 1024 * kTiB,
     .doc = "Most bytes that each of them takes, its metadata included, at all times. A smaller\n"
            "number than before gives up what lies beyond."},
    {.name = "disk.segment",
     .kind = SettingKind::kBytes,
     .target = [](Config& c) -> SettingTarget { return &c.node.disk.segment_bytes; },
     .min = kMiB,
     .max = 16 * 1024 * kMiB,
     .power_of_two = true,
     .doc = "Unit in which room on disk is taken and given back, for new directories. At least a\n"
            "few chunks; a disk has at least four."},
    {.name = "disk.mode",
     .kind = SettingKind::kChoice,
     .target = [](Config& c) -> SettingTarget { return &c.node.disk.mode; },
     .choices = "write-back|write-through|read-only",
     .doc = "When chunks are written to disk: write-back: shortly before they would leave memory;\n"
            "write-through: as soon as they are stored; read-only: never."},
    {.name = "disk.admission",
     .kind = SettingKind::kChoice,
     .target = [](Config& c) -> SettingTarget { return &c.node.disk.admission; },
     .choices = "all|second-sight|score",
     .doc =
         "What write-back writes: all; second-sight: what was used since it was stored, or was\n"
         "about to leave memory once before, which wears the disk several times less and costs\n"
         "hits; score: kinds of chunks (by depth and uses) of which enough were asked for again\n"
         "for what was written of them, and fewer kinds as disk.write_bytes_per_day is used up."},
    {.name = "disk.ready_fraction",
     .kind = SettingKind::kFraction,
     .target = [](Config& c) -> SettingTarget { return &c.node.core.disk_ready_fraction; },
     .min = 0,
     .max = 0.5,
     .doc =
         "Share of the arena that is kept free or written ahead, so that puts never wait for the\n"
         "disk. A burst of puts beyond it, and beyond what the disk takes meanwhile, drops chunks\n"
         "unwritten."},
    {.name = "disk.owner",
     .kind = SettingKind::kText,
     .target = [](Config& c) -> SettingTarget { return &c.node.disk.owner; },
     .doc = "Name of this node in its directories; those of another node are refused. Empty: the\n"
            "host's name."},
    {.name = "disk.engine",
     .kind = SettingKind::kChoice,
     .target = [](Config& c) -> SettingTarget { return &c.node.disk.engine; },
     .choices = "auto|io_uring|threads",
     .doc = "How the files are read and written; auto: io_uring where the kernel permits it."},
    {.name = "disk.write_bytes_per_day",
     .kind = SettingKind::kBytes,
     .target = [](Config& c) -> SettingTarget { return &c.node.disk.write_bytes_per_day; },
     .min = 0,
     .max = 1024 * kTiB,
     .doc = "Endurance budget of all directories together: chunks beyond it are dropped rather\n"
            "than written. 0: none."},
    {.name = "disk.io_timeout",
     .kind = SettingKind::kDuration,
     .target = [](Config& c) -> SettingTarget { return &c.node.disk.io_timeout; },
     .min = 0.1,
     .max = 3600,
     .doc = "A device that does not answer for so long is out of service until the next start."},
    // --- cluster --------------------------------------------------------------------------------
    {.name = "cluster.name",
     .flag = "--cluster",
     .kind = SettingKind::kText,
     .target = [](Config& c) -> SettingTarget { return &c.node.cluster.name; },
     .doc = "The cluster that this node belongs to; all of its nodes say the same. Empty: this\n"
            "node is alone."},
    {.name = "cluster.node",
     .flag = "--node",
     .kind = SettingKind::kText,
     .target = [](Config& c) -> SettingTarget { return &c.node.cluster.node; },
     .doc = "This node's name in the cluster, unlike every other's and the same after a restart.\n"
            "Empty: the host's."},
    {.name = "cluster.secret_file",
     .kind = SettingKind::kText,
     .target = [](Config& c) -> SettingTarget { return &c.node.cluster.secret_file; },
     .doc = "A file whose first line all nodes share. Each proves to the others that it knows it.\n"
            "Empty: whoever reaches a node's ports and knows the cluster's name is believed."},
    {.name = "cluster.listen",
     .flag = "--peer-listen",
     .kind = SettingKind::kListen,
     .target = [](Config& c) -> SettingTarget { return &c.node.cluster.listen; },
     .unix_allowed = false,
     .doc = "Address at which the other nodes fetch chunks: \"HOST:PORT\". The bytes are not\n"
            "encrypted: it belongs on a network of the cluster's own."},
    {.name = "cluster.advertise",
     .kind = SettingKind::kText,
     .target = [](Config& c) -> SettingTarget { return &c.node.cluster.advertise; },
     .doc = "How the others reach cluster.listen, when that does not say: \"HOST:PORT\"."},
    {.name = "cluster.rpc_advertise",
     .kind = SettingKind::kText,
     .target = [](Config& c) -> SettingTarget { return &c.node.cluster.rpc_advertise; },
     .doc = "The same of grpc.listen, at which the others follow what this node holds."},
    {.name = "cluster.peers",
     .flag = "--peers",
     .kind = SettingKind::kText,
     .target = [](Config& c) -> SettingTarget { return &c.node.cluster.peers; },
     .doc =
         "gRPC addresses (\"HOST:PORT\", separated by commas) of the cluster's nodes, for a small\n"
         "cluster without etcd. This node's own may be among them."},
    {.name = "cluster.etcd",
     .flag = "--etcd",
     .kind = SettingKind::kText,
     .target = [](Config& c) -> SettingTarget { return &c.node.cluster.etcd; },
     .doc =
         "etcd's endpoints (\"HOST:PORT\" or \"https://HOST:PORT\", separated by commas), where\n"
         "the nodes find each other. Instead of cluster.peers."},
    {.name = "cluster.etcd_prefix",
     .kind = SettingKind::kText,
     .target = [](Config& c) -> SettingTarget { return &c.node.cluster.etcd_prefix; },
     .doc = "Of all keys in etcd."},
    {.name = "cluster.etcd_user",
     .kind = SettingKind::kText,
     .target = [](Config& c) -> SettingTarget { return &c.node.cluster.etcd_user; },
     .doc = "User at etcd. Empty: no authentication."},
    {.name = "cluster.etcd_password_file",
     .kind = SettingKind::kText,
     .target = [](Config& c) -> SettingTarget { return &c.node.cluster.etcd_password_file; },
     .doc = "A file whose first line is its password."},
    {.name = "cluster.etcd_ca_file",
     .kind = SettingKind::kText,
     .target = [](Config& c) -> SettingTarget { return &c.node.cluster.etcd_ca_file; },
     .doc = "Authorities that etcd's certificates are checked with, in PEM. Empty: the system's."},
    {.name = "cluster.etcd_certificate_file",
     .kind = SettingKind::kText,
     .target = [](Config& c) -> SettingTarget { return &c.node.cluster.etcd_certificate_file; },
     .doc = "This node's certificate for etcd, in PEM; with etcd_key_file or not at all."},
    {.name = "cluster.etcd_key_file",
     .kind = SettingKind::kText,
     .target = [](Config& c) -> SettingTarget { return &c.node.cluster.etcd_key_file; },
     .doc = "Its key."},
    {.name = "cluster.lease_ttl",
     .kind = SettingKind::kDuration,
     .target = [](Config& c) -> SettingTarget { return &c.node.cluster.lease_ttl; },
     .min = 2,
     .max = 3600,
     .doc = "How long a node that was killed stays a member, with etcd. Whole seconds."},
    {.name = "cluster.member_timeout",
     .kind = SettingKind::kDuration,
     .target = [](Config& c) -> SettingTarget { return &c.node.cluster.member_timeout; },
     .min = 1,
     .max = 3600,
     .doc = "The same with cluster.peers."},
    {.name = "cluster.fetch_timeout",
     .kind = SettingKind::kDuration,
     .target = [](Config& c) -> SettingTarget { return &c.node.cluster.core.fetch_timeout; },
     .min = 0.01,
     .max = 60,
     .doc =
         "How long a chunk may take to come from other nodes before it is a miss. A caller's own\n"
         "deadline is kept besides."},
    {.name = "cluster.connections",
     .kind = SettingKind::kCount,
     .target = [](Config& c) -> SettingTarget { return &c.node.cluster.connections; },
     .min = 1,
     .max = 16,
     .doc =
         "Connections to each other node. One is best on loopback; several where one cannot fill\n"
         "the network."},
    {.name = "cluster.send_file",
     .kind = SettingKind::kFlag,
     .target = [](Config& c) -> SettingTarget { return &c.node.cluster.send_file; },
     .doc =
         "Hands the arena's pages to the network instead of copying them. Worth a try on a fast\n"
         "network card, with the arena on huge pages; on loopback it is slower."},
    {.name = "cluster.engine",
     .kind = SettingKind::kText,
     .target = [](Config& c) -> SettingTarget { return &c.node.cluster.engine; },
     .doc =
         "How the sockets are driven: io_uring, epoll, or auto: io_uring where the kernel permits\n"
         "it."},
    {.name = "cluster.directory",
     .kind = SettingKind::kFlag,
     .target = [](Config& c) -> SettingTarget { return &c.node.cluster.directory; },
     .doc =
         "In a cluster of hundreds of nodes, true on a few of them: these follow what all nodes\n"
         "hold, and the others ask them instead of following everybody. Without any such node\n"
         "all follow all."},
    {.name = "cluster.event_log",
     .kind = SettingKind::kCount,
     .target = [](Config& c) -> SettingTarget { return &c.node.cluster.event_log; },
     .min = 1024,
     .max = 1 << 26,
     .doc =
         "So many latest changes of what is here are kept for the nodes that follow, at 40 bytes\n"
         "each. A node that falls behind further takes a snapshot."},
    {.name = "cluster.index_entries_max",
     .kind = SettingKind::kCount,
     .target = [](Config& c) -> SettingTarget { return &c.node.cluster.index_entries_max; },
     .min = 1024,
     .max = 4e9,
     .doc =
         "Most chunks of other nodes that this one knows of; each takes some 50 bytes once it is\n"
         "known. Those beyond are misses."},
    // --- the rest -------------------------------------------------------------------------------
    {.name = "grpc.listen",
     .flag = "--grpc-listen",
     .kind = SettingKind::kListen,
     .target = [](Config& c) -> SettingTarget { return &c.grpc_listen; },
     .doc =
         "Address of the gRPC services (larder.v1.Store and Admin): \"HOST:PORT\", \"unix:PATH\" "
         "or\n"
         "\"\" for none. Without authentication: whoever reaches it can read, write and remove."},
    {.name = "grpc.profiles",
     .kind = SettingKind::kText,
     .target = [](Config& c) -> SettingTarget { return &c.grpc_profiles; },
     .doc =
         "Profiles of models, files that larder-codec has made, separated by commas. The gRPC\n"
         "service reads chunks of codec larder that clients stored with one of these, or without."},
    {.name = "metrics.listen",
     .flag = "--metrics-listen",
     .kind = SettingKind::kListen,
     .target = [](Config& c) -> SettingTarget { return &c.metrics_listen; },
     .unix_allowed = false,
     .doc = "Address of the Prometheus metrics over HTTP: \"HOST:PORT\", or \"\" for none."},
    {.name = "log.level",
     .flag = "--log-level",
     .kind = SettingKind::kChoice,
     .target = [](Config& c) -> SettingTarget { return &c.log_level; },
     .choices = "debug|info|warning|error",
     .doc = "Least important events that are logged on standard error."},
    {.name = "drain.timeout",
     .kind = SettingKind::kDuration,
     .target = [](Config& c) -> SettingTarget { return &c.node.drain_timeout; },
     .min = 0,
     .max = kDay,
     .doc = "How long a daemon that was asked to end waits for chunks that are being written."},
};

}  // namespace

std::span<const Setting> Settings() { return kSettings; }

const Setting* FindSetting(absl::string_view name) {
  const auto found = std::find_if(std::begin(kSettings), std::end(kSettings),
                                  [&](const Setting& setting) { return setting.name == name; });
  return found == std::end(kSettings) ? nullptr : found;
}

}  // namespace larder
