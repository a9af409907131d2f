package queues

import (
	"fmt"
	"regexp"
)

// Names makes the name of every queue, from the namespace that is their first token. This is the whole
// table; a name that is not made here does not exist.
//
//	carrier  method   subject                        producer        consumer        retention      a loss means
//	Queue    Batches  <ns>.b1.<class>.<level>.0      session outbox  nodeagent claim until acked    nothing: the owner asks again
//	Log      Log      <ns>.log.<shard>.<owner>       agent, session  session fold    until trimmed  a task runs again
//	Topic    Log.Republish <ns>.told.<shard>.<owner>      the server      session fold    none           a gap, noticed and filled
//	Log      Dead     <ns>.dead.<class>.<func>       session         people          7 days, 64 MiB no history
//	Log      Dead     <ns>.dead.<class>.unreadable   nodeagent       people          7 days, 64 MiB no history
//	Topic    (rows)   <ns>.row.<table>.$KV.<row>     the server      watchers        none           noticed and filled
//	Table    Nodes    $KV.<ns>_nodes.<node>          nodeagent       sessions        the last       a node is not seen
//	Table    Classes  $KV.<ns>_classes.<class>.<lvl> session         nodeagent       the last       a class is not served
//	Table    Sessions $KV.<ns>_sessions.<owner>      session         nodeagent       the last       a log is not trimmed
//	Table    Jobs     $KV.<ns>_jobs.<job>            session         session         the last       the job begins anew
//	Table    Cancels  $KV.<ns>_cancels.<owner>.<n>   session         nodeagent       a day          what is cancelled runs in vain
//	Table    Leases   $KV.<ns>_leases.janitor        nodeagent       nodeagent       the last       two janitors: they agree
//	Blocks   Objects  <ns>.obj.<scope>.<id>.…        objstore        objstore        until purged   a value is lost
//	Table    Exports  $KV.<ns>_exports.<token>       session         session, agent  until expired  an export is lost
//
// Shard and bucket are 0: one process needs no more.
type Names struct{ Namespace string }

// QueueName names a queue: a stream, the one subject of it that is drawn, and the consumer that draws.
type QueueName struct {
	Stream, Subject, Consumer string
	Binds                     []string // what the stream binds: the subjects of all its queues
}

// LogName names a log: a stream, its subject there, what the stream binds, and where records are told
// once they are stored (nowhere if empty).
type LogName struct {
	Stream, Subject, Binds string
	Republish              TopicName
	RepublishBinds         string
}

// TableName names a table's bucket.
type TableName string

// BlocksName names blocks: a stream, and what the subjects of all of them begin with.
type BlocksName struct{ Stream, Prefix string }

// TopicName is a subject, or a pattern of subjects to listen to.
type TopicName string

var namespace = regexp.MustCompile(`^[a-z0-9_-]{1,32}$`)

// Check returns an error unless the namespace is one token of a subject.
func (n Names) Check() error {
	if namespace.MatchString(n.Namespace) {
		return nil
	}
	return fmt.Errorf("queues: namespace %q: want 1 to 32 of a-z, 0-9, _ and -", n.Namespace)
}

// levels are the queues in the stream of a class. What a stream binds and no consumer draws would wait
// for ever, so they are listed.
var levels = []string{"child", "high", "normal", "low"}

// Batches names the queue of a class and level.
func (n Names) Batches(class, level string) QueueName {
	prefix := n.Namespace + ".b1." + class + "."
	q := QueueName{Stream: n.Namespace + "_b1_" + class, Subject: prefix + level + ".0", Consumer: level}
	for _, l := range levels {
		q.Binds = append(q.Binds, prefix+l+".0")
	}
	return q
}

// Log names the log of an owner.
func (n Names) Log(owner string) LogName {
	return LogName{
		Stream:         n.Namespace + "_log_0",
		Subject:        n.Namespace + ".log.0." + owner,
		Binds:          n.Namespace + ".log.0.*",
		Republish:      TopicName(n.Namespace + ".told.0." + owner),
		RepublishBinds: n.Namespace + ".told.0.{{wildcard(1)}}",
	}
}

// Dead names the log of the dead letters of one class and function.
func (n Names) Dead(class, fn string) LogName {
	return LogName{
		Stream:  n.Namespace + "_dead",
		Subject: n.Namespace + ".dead." + class + "." + fn,
		Binds:   n.Namespace + ".dead.*.*",
	}
}

// Nodes names the table of nodes: what each has, and which functions.
func (n Names) Nodes() TableName { return TableName(n.Namespace + "_nodes") }

// Classes names the table of classes that were used.
func (n Names) Classes() TableName { return TableName(n.Namespace + "_classes") }

// Sessions names the table of sessions: who holds each, how far its log is read, and whether it has ended.
func (n Names) Sessions() TableName { return TableName(n.Namespace + "_sessions") }

// Jobs names the table of named jobs: which incarnation each is in.
func (n Names) Jobs() TableName { return TableName(n.Namespace + "_jobs") }

// Cancels names the table of what sessions want cancelled.
func (n Names) Cancels() TableName { return TableName(n.Namespace + "_cancels") }

// Leases names the table of what one agent does for all.
func (n Names) Leases() TableName { return TableName(n.Namespace + "_leases") }

// Objects names the blocks of large values.
func (n Names) Objects() BlocksName {
	return BlocksName{Stream: n.Namespace + "_obj", Prefix: n.Namespace + ".obj."}
}

// Exports names the table of values that were exported.
func (n Names) Exports() TableName { return TableName(n.Namespace + "_exports") }

// rows names where the server tells of a table's rows once they are stored.
func (n Names) rows(t TableName) TopicName { return TopicName(n.Namespace + ".row." + string(t)) }
