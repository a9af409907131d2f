// Package tidemill opens a cluster for a program: a NATS server, a node agent and the program's own code in one process,
// with nothing to install.
//
//	func main() { tidemill.Main(run) }
//
//	func run(ctx context.Context) error {
//		v, err := Square.Submit(ctx, 7).Get(ctx)
//		…
//	}
//
// [Main] is for programs: it handles flags, signals and exit codes. [Open] is for everything else, such as tests and
// servers: it returns a [Cluster], whose Context carries the session to which package engine submits tasks.
//
// By default, streams are in memory, and submitted tasks are gone when the process ends. With Config.Dir (flag -dir) they
// are stored in files. With a directory, Config.Job (flag -job) names the run and makes it resumable: if the program is
// killed or interrupted and then run again, it uses the results that the earlier runs have recorded.
package tidemill
