package graph

import "flag"

// Seed is the flag with the seed of the one random schedule or model to run. Tests inside and outside of the package have
// it.
var Seed = flag.Uint64("seed", 0, "run only the schedule or model with this seed, and log its steps; 0 = many random ones")
