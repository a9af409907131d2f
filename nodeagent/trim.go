package nodeagent

import (
	"context"
	"encoding/json"
	"log/slog"

	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/queues"
)

// janitor removes what owners say they need no more: sessions themselves destroy nothing.
type janitor struct {
	broker *queues.Broker
	log    *slog.Logger
}

// trim removes the part of an owner's log that is read by all who will read it.
func (j *janitor) trim(row queues.Row) {
	var r session.Row
	if row.Deleted || json.Unmarshal(row.Value, &r) != nil || r.Trimmed == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), apiTimeout)
	defer cancel()
	log, err := j.broker.OpenLog(ctx, j.broker.Log(row.Key))
	last := uint64(0)
	if err == nil {
		last, err = log.Last(ctx)
	}
	if err == nil && r.Trimmed <= last { // beyond the end it was not read: the row is not of this log
		err = log.Trim(ctx, r.Trimmed)
	}
	if err != nil {
		j.log.Warn("nodeagent: trim a log", "owner", row.Key, "err", err)
	}
}
