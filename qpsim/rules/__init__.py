"""What a method's update rule is: a scalar function, and the facts read off its signature."""
