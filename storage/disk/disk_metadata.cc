#include "storage/disk/disk_metadata.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <filesystem>
#include <optional>
#include <span>
#include <system_error>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "rocksdb/db.h"
#include "rocksdb/table.h"
#include "storage/disk/disk_metadata_format.h"

namespace larder {
namespace {

// One write of RocksDB; below its write buffer, so that none is overrun.
constexpr size_t kBatchChangesMax = 4096;
constexpr size_t kScanReadaheadBytes = size_t{2} << 20;
constexpr uint64_t kStatBlockBytes = 512;  // of st_blocks
// The clock would overflow with an endless one.
constexpr absl::Duration kFlushTimeoutMax = absl::Hours(24);

template <typename T>
rocksdb::Slice SliceOf(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

std::span<const uint8_t> BytesOf(const rocksdb::Slice& slice) {
  return {reinterpret_cast<const uint8_t*>(slice.data()), slice.size()};
}

rocksdb::Slice IdentityKey() { return {kDiskMetadataIdentityKey}; }

// RocksDB as distributions build it ends the process when it cannot write its own log file twice.
// What goes wrong is in the statuses anyway.
class SilentLogger final : public rocksdb::Logger {
 public:
  SilentLogger() : Logger(rocksdb::FATAL_LEVEL) {}
  using Logger::Logv;
  void Logv(const char*, va_list) override {}
};

// docs/decisions/0006-disk-metadata.md says why each is as it is.
rocksdb::Options MakeOptions() {
  rocksdb::Options options;
  options.create_if_missing = true;
  options.compression = rocksdb::kNoCompression;
  options.write_buffer_size = size_t{4} << 20;
  options.max_write_buffer_number = 3;
  options.max_total_wal_size = uint64_t{16} << 20;
  options.target_file_size_base = uint64_t{32} << 20;
  options.max_bytes_for_level_base = uint64_t{64} << 20;
  options.level_compaction_dynamic_level_bytes = true;
  options.max_background_jobs = 2;
  options.max_open_files = 128;
  options.max_manifest_file_size = uint64_t{1} << 20;
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  options.max_bgerror_resume_count = 0;
  options.info_log = std::make_shared<SilentLogger>();
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  rocksdb::BlockBasedTableOptions table;
  table.block_size = size_t{16} << 10;
  table.no_block_cache = true;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

absl::Status FromRocksDb(const rocksdb::Status& status) {
  if (status.ok()) return absl::OkStatus();
  const std::string text = status.ToString();
  if (absl::StrContains(text, "lock hold by") || absl::StrContains(text, "While lock file")) {
    return absl::UnavailableError(absl::StrCat("another process has the index open: ", text));
  }
  if (status.IsCorruption() || status.IsPathNotFound()) {
    return absl::DataLossError(absl::StrCat("the index is damaged: ", text));
  }
  if (status.IsNoSpace()) return absl::ResourceExhaustedError(text);
  if (status.IsInvalidArgument() || status.IsNotSupported()) {
    return absl::FailedPreconditionError(absl::StrCat("not an index of this program: ", text));
  }
  return absl::UnavailableError(text);
}

bool HasFile(const std::string& directory, absl::string_view name) {
  std::error_code ignored;
  return std::filesystem::exists(absl::StrCat(directory, "/", name), ignored);
}

// RocksDB would make a new index of a directory that has lost the file CURRENT, and remove what is
// there.
absl::Status CheckNotHeadless(const std::string& directory) {
  if (HasFile(directory, "CURRENT")) return absl::OkStatus();
  std::error_code error;
  std::filesystem::directory_iterator file(directory, error);
  for (; !error && file != std::filesystem::directory_iterator(); file.increment(error)) {
    if (file->path().extension() == ".sst") {
      return absl::DataLossError("the index is damaged: its file CURRENT is missing");
    }
  }
  if (error) return ErrnoStatus(error.value(), "listing the directory");
  return absl::OkStatus();
}

bool SamePlace(const DiskRecord& one, const DiskRecord& other) {
  return one.segment == other.segment && one.generation == other.generation &&
         one.offset == other.offset;
}

}  // namespace

// Owns the RocksDB database. One thread changes it.
class DiskMetadata::Database {
 public:
  static absl::StatusOr<std::unique_ptr<Database>> Open(const std::string& directory,
                                                        DiskDeviceId device) {
    // Also made by RocksDB, but with a mode that lets others read it.
    if (mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
      return ErrnoStatus(errno, "making the directory");
    }
    RETURN_IF_ERROR(CheckNotHeadless(directory));
    rocksdb::DB* database = nullptr;
    RETURN_IF_ERROR(FromRocksDb(rocksdb::DB::Open(MakeOptions(), directory, &database)));
    auto result = std::make_unique<Database>(database);
    RETURN_IF_ERROR(result->CheckIdentity(device, /*make=*/true));
    return result;
  }

  static absl::StatusOr<std::unique_ptr<Database>> OpenToRead(const std::string& directory,
                                                              DiskDeviceId device) {
    if (!HasFile(directory, ".")) return absl::NotFoundError("there is no index");
    RETURN_IF_ERROR(CheckNotHeadless(directory));
    if (!HasFile(directory, "CURRENT")) return absl::NotFoundError("there is no index");
    rocksdb::DB* database = nullptr;
    RETURN_IF_ERROR(FromRocksDb(rocksdb::DB::OpenForReadOnly(MakeOptions(), directory, &database)));
    auto result = std::make_unique<Database>(database);
    RETURN_IF_ERROR(result->CheckIdentity(device, /*make=*/false));
    return result;
  }

  explicit Database(rocksdb::DB* database) : database_(database) {}

  absl::Status ForEach(absl::FunctionRef<void(const DiskRecord&)> visit, bool drop_damaged,
                       uint64_t* damaged) {
    rocksdb::ReadOptions read;
    read.readahead_size = kScanReadaheadBytes;
    const std::unique_ptr<rocksdb::Iterator> entries(database_->NewIterator(read));
    for (entries->SeekToFirst(); entries->Valid(); entries->Next()) {
      if (entries->key() == IdentityKey()) continue;
      const absl::StatusOr<DiskRecord> record =
          DecodeDiskMetadata(BytesOf(entries->key()), BytesOf(entries->value()));
      if (record.ok()) {
        visit(*record);
        continue;
      }
      ++*damaged;
      if (!drop_damaged) continue;
      RETURN_IF_ERROR(FromRocksDb(database_->Delete(rocksdb::WriteOptions(), entries->key())));
    }
    return FromRocksDb(entries->status());
  }

  // In one write, all or none of which is there after a kill.
  absl::Status Apply(std::span<const DiskMetadataChange> changes) {
    // The last word on each part; empty: removed.
    absl::flat_hash_map<std::string, std::optional<DiskRecord>> outcome;
    outcome.reserve(changes.size());
    for (const DiskMetadataChange& change : changes) {
      const DiskMetadataKeyV1 encoded_key = EncodeDiskMetadataKey(change.record);
      std::string key = SliceOf(encoded_key).ToString();
      if (change.kind == DiskMetadataChange::Kind::kPut) {
        outcome.insert_or_assign(std::move(key), change.record);
        continue;
      }
      auto known = outcome.find(key);
      if (known == outcome.end()) {
        ASSIGN_OR_RETURN(const std::optional<DiskRecord> stored, Find(key));
        if (!stored.has_value() || !SamePlace(*stored, change.record)) continue;
        outcome.emplace(std::move(key), std::nullopt);
      } else if (known->second.has_value() && SamePlace(*known->second, change.record)) {
        known->second.reset();
      }
    }
    rocksdb::WriteBatch batch;
    for (const auto& [key, record] : outcome) {
      if (record.has_value()) {
        const DiskMetadataValueV1 value = EncodeDiskMetadataValue(*record);
        RETURN_IF_ERROR(FromRocksDb(batch.Put(key, SliceOf(value))));
      } else {
        RETURN_IF_ERROR(FromRocksDb(batch.Delete(key)));
      }
    }
    return FromRocksDb(database_->Write(rocksdb::WriteOptions(), &batch));
  }

  absl::Status Sync() { return FromRocksDb(database_->SyncWAL()); }

 private:
  absl::Status CheckIdentity(DiskDeviceId device, bool make) {
    std::string value;
    const rocksdb::Status found = database_->Get(rocksdb::ReadOptions(), IdentityKey(), &value);
    if (found.IsNotFound()) {
      const std::unique_ptr<rocksdb::Iterator> entries(
          database_->NewIterator(rocksdb::ReadOptions()));
      entries->SeekToFirst();
      RETURN_IF_ERROR(FromRocksDb(entries->status()));
      if (entries->Valid()) return absl::DataLossError("the index has entries but no identity");
      if (!make) return absl::NotFoundError("there is no index");
      rocksdb::WriteOptions write;
      write.sync = true;
      const DiskMetadataIdentityV1 identity = EncodeDiskMetadataIdentity(device);
      return FromRocksDb(database_->Put(write, IdentityKey(), SliceOf(identity)));
    }
    RETURN_IF_ERROR(FromRocksDb(found));
    ASSIGN_OR_RETURN(const DiskDeviceId owner, DecodeDiskMetadataIdentity(BytesOf(value)));
    if (owner == device) return absl::OkStatus();
    return absl::FailedPreconditionError(absl::StrCat(
        "the index belongs to device ", ToString(owner), ", not to ", ToString(device)));
  }

  // What the index knows under `key`; none also when the entry is damaged.
  absl::StatusOr<std::optional<DiskRecord>> Find(const std::string& key) {
    std::string value;
    const rocksdb::Status found = database_->Get(rocksdb::ReadOptions(), key, &value);
    if (found.IsNotFound()) return std::nullopt;
    RETURN_IF_ERROR(FromRocksDb(found));
    const absl::StatusOr<DiskRecord> record = DecodeDiskMetadata(BytesOf(key), BytesOf(value));
    if (!record.ok()) return std::nullopt;
    return *record;
  }

  const std::unique_ptr<rocksdb::DB> database_;
};

absl::StatusOr<std::unique_ptr<DiskMetadata>> DiskMetadata::Open(const std::string& directory,
                                                                 const Options& options) {
  absl::StatusOr<std::unique_ptr<Database>> database = Database::Open(directory, options.device);
  RETURN_IF_ERROR(Annotate(database.status(), directory));
  return std::unique_ptr<DiskMetadata>(new DiskMetadata(options, directory, *std::move(database)));
}

DiskMetadata::DiskMetadata(const Options& options, std::string directory,
                           std::unique_ptr<Database> database)
    : queued_changes_max_(options.queued_changes_max),
      directory_(std::move(directory)),
      database_(std::move(database)),
      writer_([this] { WriteUntilStopped(); }) {}

DiskMetadata::~DiskMetadata() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wanted_.notify_one();
  writer_.join();
}

absl::Status DiskMetadata::ForEach(absl::FunctionRef<void(const DiskRecord&)> visit,
                                   uint64_t* damaged) {
  return Annotate(database_->ForEach(visit, /*drop_damaged=*/true, damaged), directory_);
}

absl::Status DiskMetadata::Queue(const DiskMetadataChange& change) {
  {
    std::lock_guard lock(mutex_);
    if (!failure_.empty()) return absl::UnavailableError(failure_);
    if (queued_ - written_ >= queued_changes_max_) {
      return absl::ResourceExhaustedError(absl::StrCat(directory_, ": ", queued_changes_max_,
                                                       " changes of the index wait to be written"));
    }
    queue_.push_back(change);
    ++queued_;
  }
  wanted_.notify_one();
  return absl::OkStatus();
}

absl::Status DiskMetadata::Flush(bool sync, absl::Duration timeout) {
  std::unique_lock lock(mutex_);
  const uint64_t target = queued_;
  if (sync && sync_wanted_ < target) {
    sync_wanted_ = target;
    wanted_.notify_one();
  }
  const auto wait = absl::ToChronoNanoseconds(std::min(timeout, kFlushTimeoutMax));
  const bool done = progress_.wait_for(lock, wait, [this, sync, target] {
    return !failure_.empty() || (sync ? synced_ : written_) >= target;
  });
  if (!failure_.empty()) return absl::UnavailableError(failure_);
  if (done) return absl::OkStatus();
  return absl::DeadlineExceededError(absl::StrCat(directory_, ": the index is still being ",
                                                  sync ? "synced" : "written", " after ",
                                                  absl::FormatDuration(timeout)));
}

void DiskMetadata::WriteUntilStopped() {
  std::vector<DiskMetadataChange> changes;
  std::unique_lock lock(mutex_);
  for (;;) {
    wanted_.wait(lock, [this] { return stopping_ || !queue_.empty() || sync_wanted_ > synced_; });
    if (!failure_.empty() || (stopping_ && queue_.empty())) return;
    changes.clear();
    changes.swap(queue_);
    lock.unlock();
    WriteBatches(changes);
    lock.lock();
    if (!failure_.empty() || sync_wanted_ <= synced_) continue;
    const uint64_t target = written_;
    lock.unlock();
    const absl::Status status = database_->Sync();
    if (!status.ok()) Fail(status);
    lock.lock();
    if (status.ok()) synced_ = target;
    progress_.notify_all();
  }
}

void DiskMetadata::WriteBatches(const std::vector<DiskMetadataChange>& changes) {
  std::span<const DiskMetadataChange> rest(changes);
  while (!rest.empty()) {
    const auto batch = rest.first(std::min(rest.size(), kBatchChangesMax));
    if (const absl::Status status = database_->Apply(batch); !status.ok()) return Fail(status);
    rest = rest.subspan(batch.size());
    {
      std::lock_guard lock(mutex_);
      written_ += batch.size();
    }
    progress_.notify_all();
  }
}

void DiskMetadata::Fail(const absl::Status& status) {
  {
    std::lock_guard lock(mutex_);
    // As text: a status must not go from one thread to another.
    failure_ = absl::StrCat(directory_, ": writing the index: ", status.message());
  }
  progress_.notify_all();
}

uint64_t DiskMetadata::DiskBytes() const {
  uint64_t bytes = 0;
  std::error_code error;
  std::filesystem::directory_iterator file(directory_, error);
  for (; !error && file != std::filesystem::directory_iterator(); file.increment(error)) {
    struct stat information;
    // A file that is gone by now takes nothing.
    if (stat(file->path().c_str(), &information) != 0) continue;
    bytes += static_cast<uint64_t>(information.st_blocks) * kStatBlockBytes;
  }
  return bytes;
}

absl::Status DiskMetadata::Read(const std::string& directory, DiskDeviceId device,
                                absl::FunctionRef<void(const DiskRecord&)> visit,
                                uint64_t* damaged) {
  const absl::StatusOr<std::unique_ptr<Database>> database =
      Database::OpenToRead(directory, device);
  RETURN_IF_ERROR(Annotate(database.status(), directory));
  return Annotate((*database)->ForEach(visit, /*drop_damaged=*/false, damaged), directory);
}

}  // namespace larder
