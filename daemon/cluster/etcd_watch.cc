#include "daemon/cluster/etcd_watch.h"

#include "daemon/cluster/etcd_client.h"

namespace larder {

EtcdWatch::EtcdWatch(const std::shared_ptr<grpc::Channel>& channel, const std::string& token,
                     const std::string& prefix, int64_t revision, grpc::CompletionQueue* queue)
    : stub_(etcdserverpb::Watch::NewStub(channel)) {
  if (!token.empty()) context_.AddMetadata("token", token);
  // A member of etcd that lost the others ends the watch then, instead of being silent.
  context_.AddMetadata("hasleader", "true");
  etcdserverpb::WatchCreateRequest* create = create_.mutable_create_request();
  create->set_key(prefix);
  create->set_range_end(EndOfPrefix(prefix));
  create->set_start_revision(revision);
  ++under_way_;
  stream_ = stub_->AsyncWatch(&context_, queue, &start_tag_);
}

EtcdWatch::Step EtcdWatch::OnCompletion(const void* tag, bool ok) {
  --under_way_;
  if (tag == &finish_tag_) return Step::kEnded;
  if (tag == &write_tag_) {
    writing_ = false;  // when it failed, so does the read that is under way
    return Step::kNothing;
  }
  if (tag == &read_tag_ && ok) return Step::kResponse;
  if (!ok) {
    ++under_way_;
    stream_->Finish(&status_, &finish_tag_);
    return Step::kNothing;
  }
  started_ = true;
  Write(create_);
  Continue();
  return Step::kNothing;
}

void EtcdWatch::Continue() {
  ++under_way_;
  stream_->Read(&response_, &read_tag_);
}

void EtcdWatch::AskProgress() {
  if (!started_ || writing_) return;
  etcdserverpb::WatchRequest request;
  request.mutable_progress_request();
  Write(request);
}

void EtcdWatch::Write(const etcdserverpb::WatchRequest& request) {
  writing_ = true;
  ++under_way_;
  stream_->Write(request, &write_tag_);
}

absl::Status EtcdWatch::status() const {
  if (status_.ok()) return absl::UnavailableError("the watch ended");
  return FromEtcd(status_);
}

}  // namespace larder
