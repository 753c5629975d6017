package scenarios

func nodes() []Scenario { return nil }
