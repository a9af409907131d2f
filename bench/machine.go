package main

import (
	"bytes"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Machine describes the machine and the versions that the figures were measured with.
type Machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"` // GOMAXPROCS
	OS     string `json:"os"`
	Go     string `json:"go"`
	Server string `json:"natsServer"`
	Client string `json:"natsGo"`
	Commit string `json:"commit,omitempty"`
}

func thisMachine() Machine {
	info, _ := os.ReadFile("/proc/cpuinfo") // if it cannot be read, the model is unknown
	return Machine{
		CPU: cpuModel(info), Cores: runtime.GOMAXPROCS(0), OS: runtime.GOOS + "/" + runtime.GOARCH,
		Go: runtime.Version(), Server: server.VERSION, Client: nats.Version, Commit: commit(),
	}
}

// cpuModel returns the first model name in /proc/cpuinfo.
func cpuModel(info []byte) string {
	for line := range bytes.Lines(info) {
		name, value, _ := strings.Cut(string(line), ":")
		if strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// commit returns the commit of the checkout in the current folder, and "" if git does not know it.
func commit() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// load returns the load averages over 1, 5 and 15 minutes, in the format of /proc/loadavg.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	fields := strings.Fields(string(text))
	return strings.Join(fields[:min(3, len(fields))], " ")
}
