// A function in Dart: run once per call, it reads its request and prints its answer.

import 'dart:convert';
import 'dart:io';

void main() {
  final event = jsonDecode(File('request.json').readAsStringSync()) as Map<String, dynamic>;
  final body = event['body'];
  final name = body is Map && body['name'] is String ? body['name'] as String : 'world';
  stderr.writeln('greeting $name');
  print(jsonEncode({'message': 'Hello, $name!'}));
}
