package session

// Deafen makes the session miss what its log tells from now on; it still may ask.
func (s *Session) Deafen() { s.follower.Close() }
