package apiserver

// Try runs kubectl as admin, where it may well be refused.
func (s *Server) Try(args ...string) (string, error) { return s.kubectl(args...) }
