package main

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tidemill/tidemill/queues/embedded"
)

// A floor is a plain loop for tasks with results over JetStream, and what Tidemill is compared with: publish the task to a
// work queue, consume it, publish the result to a stream, wait until the stream has stored it, then ack the task. The
// stream republishes stored results to the driver. The server is the one that the embedded mode starts, with two
// connections, and with streams in memory or in files as on our side.
type floor struct {
	dir     string // folder of streams in synced files; "" = streams in memory
	server  *embedded.Server
	conns   []*nats.Conn
	driver  jetstream.JetStream // publishes tasks
	worker  jetstream.JetStream // publishes results
	tasks   jetstream.Stream
	results jetstream.Stream
	payload []byte // of each message

	consuming jetstream.ConsumeContext
	recording chan recording // tasks whose results have been published, in order
	arrived   chan struct{}  // one value for each result that the driver has received
	broken    chan error     // the first error of the worker; capacity 1
	ended     chan struct{}  // closed by close
	recorded  chan struct{}  // closed when record has returned
}

// A recording is a task whose result has been published, and its publish ack.
type recording struct {
	task   jetstream.Msg
	stored jetstream.PubAckFuture
}

// Sizes and limits of a floor.
const (
	floorTask    = 64              // bytes of a task, which are those of its result
	floorPending = 1_000           // limit of published messages without a publish ack, and of delivered messages without an ack
	floorPull    = 200             // messages per pull request
	floorArrived = 1 << 20         // capacity for results that the driver has not read
	floorStall   = 5 * time.Second // limit of a publish that waits for floorPending
)

// openFloor starts a floor that sends k tasks in each message, with streams in synced files in dir, or in memory if dir
// is empty.
func openFloor(ctx context.Context, k int, dir string) (*floor, error) {
	f := &floor{
		dir: dir, payload: make([]byte, k*floorTask),
		recording: make(chan recording, floorPending), arrived: make(chan struct{}, floorArrived),
		broken: make(chan error, 1), ended: make(chan struct{}), recorded: make(chan struct{}),
	}
	go f.record()
	if err := f.start(ctx); err != nil {
		f.close()
		return nil, fmt.Errorf("floor: %w", err)
	}
	return f, nil
}

func (f *floor) start(ctx context.Context) (err error) {
	if f.server, err = embedded.Start(embedded.Config{Dir: f.dir}); err != nil {
		return err
	}
	if f.driver, err = f.connect(); err != nil {
		return err
	}
	if f.worker, err = f.connect(); err != nil {
		return err
	}
	if err := f.createStreams(ctx); err != nil {
		return err
	}
	return f.listen(ctx)
}

func (f *floor) connect() (jetstream.JetStream, error) {
	conn, err := nats.Connect("", nats.InProcessServer(f.server))
	if err != nil {
		return nil, err
	}
	f.conns = append(f.conns, conn)
	return jetstream.New(conn, jetstream.WithPublishAsyncMaxPending(floorPending))
}

func (f *floor) createStreams(ctx context.Context) (err error) {
	storage := jetstream.MemoryStorage
	if f.dir != "" {
		storage = jetstream.FileStorage
	}
	f.tasks, err = f.driver.CreateStream(ctx, jetstream.StreamConfig{
		Name: "TASKS", Subjects: []string{"t.>"}, Retention: jetstream.WorkQueuePolicy, Storage: storage,
	})
	if err != nil {
		return err
	}
	f.results, err = f.driver.CreateStream(ctx, jetstream.StreamConfig{
		Name: "RESULTS", Subjects: []string{"r.>"}, MaxAge: time.Hour, AllowDirect: true, Storage: storage,
		RePublish: &jetstream.RePublish{Source: "r.>", Destination: "d.>"},
	})
	return err
}

// listen subscribes the driver to republished results, and starts the worker.
func (f *floor) listen(ctx context.Context) error {
	sub, err := f.conns[0].Subscribe("d.me.log", func(*nats.Msg) { f.arrived <- struct{}{} })
	if err == nil {
		err = sub.SetPendingLimits(-1, -1)
	}
	if err != nil {
		return err
	}
	consumer, err := f.worker.CreateConsumer(ctx, "TASKS", jetstream.ConsumerConfig{
		Durable: "f", FilterSubject: "t.f", AckPolicy: jetstream.AckExplicitPolicy,
		MaxAckPending: floorPending, MemoryStorage: f.dir == "",
	})
	if err != nil {
		return err
	}
	f.consuming, err = consumer.Consume(f.work, jetstream.PullMaxMessages(floorPull))
	return err
}

// work runs a task, whose result is its input.
func (f *floor) work(task jetstream.Msg) {
	stored, err := f.worker.PublishMsgAsync(&nats.Msg{Subject: "r.me.log", Data: task.Data()},
		jetstream.WithStallWait(floorStall))
	if err != nil {
		f.fail(err)
		return
	}
	select {
	case f.recording <- recording{task, stored}:
	case <-f.ended:
	}
}

// record acks each task when its result is stored, in the order of the tasks, until close.
func (f *floor) record() {
	defer close(f.recorded)
	for {
		select {
		case r := <-f.recording:
			f.ackStored(r)
		case <-f.ended:
			return
		}
	}
}

func (f *floor) ackStored(r recording) {
	select {
	case <-r.stored.Ok():
		if err := r.task.Ack(); err != nil {
			f.fail(err)
		}
	case err := <-r.stored.Err():
		f.fail(err)
	case <-f.ended:
	}
}

func (f *floor) fail(err error) {
	select {
	case f.broken <- err:
	default: // the first error is kept
	}
}

// trip publishes one task and waits for its result.
func (f *floor) trip(ctx context.Context) error {
	if err := f.submit(); err != nil {
		return err
	}
	return f.await(ctx, 1)
}

// burst publishes messages as fast as the server accepts them, and waits for all results.
func (f *floor) burst(ctx context.Context, messages int) error {
	submitted := make(chan error, 1)
	go func() {
		for range messages {
			if err := f.submit(); err != nil {
				submitted <- err
				return
			}
		}
		submitted <- nil
	}()
	err := f.await(ctx, messages)
	if err != nil {
		return err // the goroutine may be blocked in submit; it is not waited for, since the row fails
	}
	return <-submitted
}

// measure is burst with a meter; its sample is per task.
func (f *floor) measure(ctx context.Context, messages int) (sample, error) {
	m := startMeter()
	err := f.burst(ctx, messages)
	return m.stop(messages * len(f.payload) / floorTask), err
}

func (f *floor) submit() error {
	_, err := f.driver.PublishMsgAsync(&nats.Msg{Subject: "t.f", Data: f.payload}, jetstream.WithStallWait(floorStall))
	return err
}

// await waits for the results of a number of messages.
func (f *floor) await(ctx context.Context, messages int) error {
	for range messages {
		select {
		case <-f.arrived:
		case err := <-f.broken:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// tidy removes the results of former rounds, as the session trims its log on our side. It is called before a round, and
// is not measured.
func (f *floor) tidy(ctx context.Context) error { return f.results.Purge(ctx) }

// close stops the floor, its connections and its server.
func (f *floor) close() {
	if f.consuming != nil {
		f.consuming.Stop()
	}
	close(f.ended)
	<-f.recorded
	for _, conn := range f.conns {
		conn.Close()
	}
	if f.server != nil {
		f.server.Close()
	}
}
