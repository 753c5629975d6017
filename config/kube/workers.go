package kube

// addWorkers lists what runs beside the watches. Each worker stands in a file of its own, keeps trying
// with a backoff where the API fails it, and ends with ctx only.
func (s *Source) addWorkers() {
	s.workers = []worker{s.herald.run}                                        // every agent's
	s.leaderWorkers = []worker{s.writeConditions, s.collect, s.giveAddresses} // of the one that leads
}
