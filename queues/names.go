package queues

import (
	"fmt"
	"regexp"
)

// Names returns the name of every queue. Each begins with the namespace. There are no others than these:
//
//	type    method         subject                         producer        consumer         kept            if one is lost
//	Queue   Batches        <ns>.b1.<class>.<level>.0       session outbox  nodeagent claim  until acked     nothing: the owner publishes it again
//	Log     Log            <ns>.log.<shard>.<owner>        agent, session  session fold     until trimmed   a task is run again
//	Topic   Log.Republish  <ns>.told.<shard>.<owner>       the server      session fold     no              a gap, which is noticed and filled
//	Log     Dead           <ns>.dead.<class>.<func>        session         people           7 days, 64 MiB  the history is lost
//	Log     Dead           <ns>.dead.<class>.unreadable    nodeagent       people           7 days, 64 MiB  the history is lost
//	Topic   (rows)         <ns>.row.<table>.$KV.<row>      the server      watchers         no              noticed and read
//	Table   Nodes          $KV.<ns>_nodes.<node>           nodeagent       sessions         the last        a node is unknown
//	Table   Classes        $KV.<ns>_classes.<class>.<lvl>  session         nodeagent        the last        a class is not served
//	Table   Sessions       $KV.<ns>_sessions.<owner>       session         nodeagent        the last        a log is not trimmed
//	Table   Jobs           $KV.<ns>_jobs.<job>             session         session          the last        the job starts over
//	Table   Cancels        $KV.<ns>_cancels.<owner>.<n>    session         nodeagent        a day           a cancelled task runs to its end
//	Table   Leases         $KV.<ns>_leases.janitor         nodeagent       nodeagent        the last        two janitors at once, which is harmless
//	Blocks  Objects        <ns>.obj.<scope>.<id>.…         objstore        objstore         until purged    a value is lost
//	Table   Exports        $KV.<ns>_exports.<token>        session         session, agent   until expired   an export is lost
//
// Shards are not in use yet: their token is 0.
type Names struct{ Namespace string }

// QueueName names a queue: its stream, its subject there, and the consumer of that subject.
type QueueName struct {
	Stream, Subject, Consumer string
	Binds                     []string // the subjects that the stream binds: those of all its queues
}

// LogName names a log: its stream, its subject there, the subjects that the stream binds, and the subject on which the server
// republishes stored messages, with the pattern for all logs of the stream (none if empty).
type LogName struct {
	Stream, Subject, Binds string
	Republish              TopicName
	RepublishBinds         string
}

// TableName is the name of a table's bucket.
type TableName string

// BlocksName names blocks: their stream, and the prefix of their subjects.
type BlocksName struct{ Stream, Prefix string }

// TopicName is a subject, or for listeners a pattern of subjects.
type TopicName string

var namespace = regexp.MustCompile(`^[a-z0-9_-]{1,32}$`)

// Check returns an error unless the namespace can be a token of a subject.
func (n Names) Check() error {
	if namespace.MatchString(n.Namespace) {
		return nil
	}
	return fmt.Errorf("queues: namespace %q: want 1 to 32 of a-z, 0-9, _ and -", n.Namespace)
}

// levels are the queues in the stream of a class. The stream binds exactly these: a message on a subject without a consumer
// would stay in the stream for ever.
var levels = []string{"child", "high", "normal", "low"}

// Batches names the queue of a class and a level.
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

// Nodes names the table of nodes: the resources and the functions of each.
func (n Names) Nodes() TableName { return TableName(n.Namespace + "_nodes") }

// Classes names the table of the classes that are or were in use.
func (n Names) Classes() TableName { return TableName(n.Namespace + "_classes") }

// Sessions names the table of sessions: who owns each, how far it has read its log, and whether it has ended.
func (n Names) Sessions() TableName { return TableName(n.Namespace + "_sessions") }

// Jobs names the table of named jobs, with the current incarnation of each.
func (n Names) Jobs() TableName { return TableName(n.Namespace + "_jobs") }

// Cancels names the table of the tasks that sessions have cancelled.
func (n Names) Cancels() TableName { return TableName(n.Namespace + "_cancels") }

// Leases names the table of the leases for work that one agent does for all.
func (n Names) Leases() TableName { return TableName(n.Namespace + "_leases") }

// Objects names the blocks of objstore's values.
func (n Names) Objects() BlocksName {
	return BlocksName{Stream: n.Namespace + "_obj", Prefix: n.Namespace + ".obj."}
}

// Exports names the table of exported values.
func (n Names) Exports() TableName { return TableName(n.Namespace + "_exports") }

// rows names the topic on which the server republishes the stored rows of a table.
func (n Names) rows(t TableName) TopicName { return TopicName(n.Namespace + ".row." + string(t)) }
