// Package tidemill opens a cluster, and is the front door of a program: a NATS server, a node agent and
// the program's own code in one process, with nothing installed.
//
//	func main() { tidemill.Main(run) }
//
//	func run(ctx context.Context) error {
//		v, err := Square.Submit(ctx, 7).Get(ctx)
//		…
//	}
//
// [Main] is for programs: flags, signals, exit codes. [Open] is for everything else, tests among them: it
// returns a [Cluster], whose Context carries the session that package engine submits to.
//
// Streams are in memory, and what was submitted is gone when the process ends, unless Config.Dir (or -dir)
// says where to keep them. With a directory, Config.Job (or -job) names the run: one that was killed or
// interrupted goes on when it is run again, with the results that it had.
package tidemill
