"""Facial expressions for ROS 2: a lifecycle node on the runtime of fer-edge."""
