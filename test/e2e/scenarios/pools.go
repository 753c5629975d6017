package scenarios

// OnPools is what runs where nodes claim blocks of address pools.
func OnPools() []Group {
	return []Group{
		{"The Kubernetes network model", model()},
		{"Address pools", pools()},
	}
}

func pools() []Scenario { return nil }
