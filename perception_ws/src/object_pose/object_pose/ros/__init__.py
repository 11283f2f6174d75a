"""ROS 2: the only place that knows rclpy and messages; nodes are thin, arrays are handled elsewhere."""
